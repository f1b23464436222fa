// ---- light: squares are traps, where they shall be; whoever may operate moves them on the picture
let light = null,
  held = null,
  lightTimer = 0;
Object.defineProperty(ringtrack, "light", { get: () => light });
async function seeLight() {
  clearTimeout(lightTimer);
  const a = hello && hello.slm && hello.may_operate ? await ask({ ask: "slm", order: "state" }) : { error: "" };
  light = a.error === undefined ? a : null;
  $("light").hidden = !(hello && hello.slm && hello.may_operate);
  if (light) {
    $("l-state").textContent = light.state;
    drawOver();
  }
  if (hello && hello.slm) lightTimer = setTimeout(seeLight, 300);
}
async function order(name, values) {
  const a = await ask({ ask: "slm", order: name, values: values || {} });
  $("l-said").textContent = a.error || "";
  seeLight();
}
for (const name of ["arm", "disarm", "catch", "halt"]) $("l-" + name).onclick = () => order(name);
function spot(e) {
  const b = view.getBoundingClientRect();
  return [(e.clientX - b.left - panX) / zoom - 0.5, (e.clientY - b.top - panY) / zoom - 0.5];
}
function trapAt(e) {
  const p = spot(e),
    d = (t) => Math.hypot(t.x - p[0], t.y - p[1]) * zoom;
  return light && light.traps.filter((t) => d(t) < 14).sort((a, b) => d(a) - d(b))[0];
}
function grab(e) {
  const t = e.button === 0 && !fingers.size && trapAt(e);
  if (!t) return false;
  held = { trap: t.trap, from: [e.clientX, e.clientY], to: spot(e) };
  view.setPointerCapture(e.pointerId);
  return true;
}
function drop(e) {
  if (!held) return;
  const h = held;
  held = null;
  if (Math.hypot(e.clientX - h.from[0], e.clientY - h.from[1]) > 3) order("move", { to: { [h.trap]: spot(e) } });
}
view.ondblclick = (e) => {
  if (!light) return;
  const t = trapAt(e),
    p = spot(e);
  if (t) order("release", { traps: [t.trap] });
  else order("trap", { x: p[0], y: p[1] });
};
