// ---- controls
function filters() {
  image.style.filter = `brightness(${$("bright").value}%) contrast(${$("contrast").value}%)`;
}
for (const id of ["bright", "contrast", "quality", "rate"]) {
  const e = $(id),
    o = e.nextElementSibling;
  const show = () => (o.textContent = e.value);
  show();
  e.oninput = () => {
    show();
    filters();
    if (id === "quality" || id === "rate") want();
  };
}
function toggle(id, on) {
  $(id).setAttribute("aria-pressed", on);
  $(id).style.borderColor = on ? "var(--accent)" : "";
}
$("overlay").onclick = () => {
  toggle("overlay", (overlay = !overlay));
  drawOver();
};
$("trails").onclick = () => {
  toggle("trails", (trailsOn = !trailsOn));
  trails.clear();
  drawOver();
};
$("freeze").onclick = () => {
  toggle("freeze", (frozen = !frozen));
  want();
  warn();
};
$("fit").onclick = () => {
  fit();
  want();
};
// ---- still image: the picture with its scale bar; settings and numbers both beneath it and inside the PNG
function stillCanvas() {
  const c = document.createElement("canvas"),
    s = head.step,
    strip = 46;
  c.width = image.width;
  c.height = image.height + strip;
  const g = c.getContext("2d");
  g.filter = image.style.filter || "none";
  g.drawImage(image, 0, 0);
  g.filter = "none";
  if (overlay && parts && parts.place === head.place) {
    g.strokeStyle = "#53e0c4";
    g.beginPath();
    for (let i = 0; i < parts.count; i++) {
      const x = (parts.f[4 * i] + 0.5) / s,
        y = (parts.f[4 * i + 1] + 0.5) / s,
        r = Math.max(4, (parts.f[4 * i + 2] * 1.8 + 1) / s);
      g.moveTo(x + r, y);
      g.arc(x, y, r, 0, 7);
    }
    g.stroke();
  }
  const um = hello.pixel_um || 1,
    length = roundLength((c.width * s * um) / 5);
  g.fillStyle = "#000";
  g.fillRect(0, image.height, c.width, strip);
  g.fillStyle = "#fff";
  g.fillRect(10, image.height + 14, length / um / s, 3);
  g.font = "12px sans-serif";
  g.fillText(+length.toPrecision(2) + (hello.pixel_um ? " µm" : " px"), 10, image.height + 11);
  g.fillText(
    `${hello.name} ${hello.run_id.slice(0, 6)} frame ${head.frame}`,
    length / um / s + 24,
    image.height + 16,
  );
  g.fillText(inWords(settings ? settings.tracking : {}), 10, image.height + 36, c.width - 20);
  g.fillStyle = "#ff4d4d";
  g.font = "bold 17px sans-serif";
  g.fillText($("warn").textContent, 12, 24);
  return c;
}
function inWords(tracking) {
  return Object.entries(tracking)
    .filter(([k]) => FIELDS.includes(k))
    .map(([k, x]) => k + " " + x)
    .join("  ");
}
async function still() {
  const facts = {
    run: hello.name,
    run_id: hello.run_id,
    run_folder: hello.run_folder,
    frame: head.frame,
    particles: head.count,
    step: head.step,
    pixel_um: hello.pixel_um,
    simulated: hello.simulated,
    warning: $("warn").textContent,
    brightness: +$("bright").value,
    contrast: +$("contrast").value,
    saved: new Date().toISOString(),
    settings,
  };
  const blob = await new Promise((done) => stillCanvas().toBlob(done, "image/png"));
  return withText(await blob.arrayBuffer(), "ringtrack", JSON.stringify(facts));
}
// A PNG with one more text chunk (iTXt, UTF-8) before its last chunk, which has 12 bytes.
function withText(png, key, text) {
  const body = new TextEncoder().encode("iTXt" + key + "\0\0\0\0\0" + text),
    chunk = new Uint8Array(body.length + 8),
    view = new DataView(chunk.buffer);
  view.setUint32(0, body.length - 4);
  chunk.set(body, 4);
  view.setUint32(body.length + 4, crc32(body));
  return new Blob([png.slice(0, -12), chunk, png.slice(-12)], { type: "image/png" });
}
function crc32(data) {
  let c = ~0;
  for (const byte of data) {
    c ^= byte;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  }
  return ~c >>> 0;
}
$("save").onclick = async () => {
  if (!head) return;
  const a = document.createElement("a"),
    url = URL.createObjectURL(await still());
  a.download = `frame_${String(head.frame).padStart(9, "0")}.png`;
  a.href = url;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
};
