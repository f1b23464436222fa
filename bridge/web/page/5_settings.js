// ---- settings
const FIELDS = [
    "diameter",
    "separation",
    "minmass",
    "maxmass",
    "percentile",
    "max_ecc",
    "min_signal",
    "invert",
    "search_range",
    "memory",
  ],
  LINKING = ["search_range", "memory"];
const full = (k) => (LINKING.includes(k) ? "linking." : "tracking.") + k;
for (const k of FIELDS) {
  const l = document.createElement("label"),
    i = document.createElement("input");
  l.htmlFor = i.id = "k-" + k;
  l.textContent = k;
  if (k === "invert") i.type = "checkbox";
  else i.inputMode = "decimal";
  i.oninput = edited;
  $("fields").append(l, i);
}
const value = (k) => (k === "invert" ? $("k-" + k).checked : $("k-" + k).value.trim());
function inForce(k) {
  return settings[LINKING.includes(k) ? "linking" : "tracking"][k];
}
function changes() {
  const c = {};
  if (settings) for (const k of FIELDS) if (String(value(k)) !== String(inForce(k))) c[full(k)] = value(k);
  return c;
}
function edited() {
  let any = false;
  if (settings)
    for (const k of FIELDS) {
      const is = String(value(k)) !== String(inForce(k));
      $("k-" + k).classList.toggle("edited", is);
      any ||= is;
    }
  const may = hello && hello.may_operate;
  $("apply").disabled = !any || !may;
  $("undo").disabled = !may || !settings || !settings.undo_to;
}
function fill(s) {
  settings = s;
  fetchedVersion = s.newest;
  for (const k of FIELDS)
    if (k === "invert") $("k-" + k).checked = inForce(k);
    else $("k-" + k).value = inForce(k);
  $("version").textContent = "· version " + s.version;
  edited();
}
async function refreshSettings() {
  const a = await ask({ ask: "settings" });
  if (!a.error) {
    const keep = changes();
    fill(a);
    for (const [k, v] of Object.entries(keep)) {
      const e = $("k-" + k.split(".")[1]);
      if (e.type === "checkbox") e.checked = v;
      else e.value = v;
    }
    edited();
  }
}
function say(text, wrong) {
  $("said").textContent = text;
  $("said").className = wrong ? "wrong" : "";
}
function done(a) {
  if (a.error) return say(a.error, true);
  previewXY = null;
  fill(a);
  say(`version ${a.version}, from ` + (a.from_frame === null ? "the next frame" : "frame " + a.from_frame) + " on");
  drawOver();
}
$("form").onsubmit = async (e) => {
  e.preventDefault();
  done(await ask({ ask: "set", values: changes() }));
};
$("undo").onclick = async () => done(await ask({ ask: "undo" }));
$("preview").onclick = async () => {
  const a = await ask({ ask: "preview", values: changes() });
  if (a.error) return say(a.error, true);
  previewXY = a.xy;
  drawOver();
  say(`${a.rows} particles in frame ${a.frame} (amber squares); ${a.found} before the filters`);
  clearTimeout(ask.t);
  ask.t = setTimeout(() => {
    previewXY = null;
    drawOver();
  }, 4000);
};
$("mark").onsubmit = async (e) => {
  e.preventDefault();
  const t = $("text").value.trim();
  if (!t) return;
  const a = await ask({ ask: "mark", text: t });
  say(a.error || `marked at frame ${a.frame}`, !!a.error);
  if (!a.error) $("text").value = "";
};
