// ---- keys
document.onkeydown = (e) => {
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName) || e.ctrlKey || e.metaKey || e.altKey) return;
  const to = { o: "overlay", t: "trails", " ": "freeze", 0: "fit", s: "save" }[e.key];
  if (e.key === "r" && take && hello.may_operate) {
    e.preventDefault();
    return record(take.state === "on" ? "stop" : "start");
  }
  if (e.key === "?") {
    $("help").open = !$("help").open;
    return $("help").scrollIntoView();
  }
  if (e.key === "p") {
    e.preventDefault();
    return $("preview").click();
  }
  if (e.key === "m") {
    e.preventDefault();
    return $("text").focus();
  }
  if (to) {
    e.preventDefault();
    $(to).click();
  } else if (e.key === "+" || e.key === "-")
    zoomAt(view.clientWidth / 2, view.clientHeight / 2, e.key === "+" ? 1.25 : 0.8);
};
document.onvisibilitychange = want;
new ResizeObserver(() => {
  if (fitted) fit();
  else place();
  clearTimeout(want.t);
  want.t = setTimeout(want, 200);
}).observe(view);
toggle("overlay", true);
connect();
