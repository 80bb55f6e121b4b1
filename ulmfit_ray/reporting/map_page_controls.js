// The page of a map, second part: moving about, searching, the legend.

// --- moving about ---------------------------------------------------------------------------------------------------

function zoom(factor, px, py) {
  const scale = Math.min(400 * base, Math.max(base / 3, view.scale * factor)), real = scale / view.scale;
  move({ scale, x: px - (px - view.x) * real, y: py - (py - view.y) * real });
}

function move(to) {
  view = to;
  isWhole = false;
  hover(-1);
  draw(true);
}

canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? .05 : .0016)), event.offsetX, event.offsetY);
}, { passive: false });

const fingers = new Map();
let travelled = 0;
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  if (!fingers.size) travelled = 0;
  fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
});
canvas.addEventListener("pointermove", (event) => {
  const finger = fingers.get(event.pointerId), now = { x: event.offsetX, y: event.offsetY };
  if (!finger) return event.pointerType === "mouse" ? hover(nearest(now.x, now.y)) : undefined;
  travelled += Math.hypot(now.x - finger.x, now.y - finger.y);
  if (fingers.size === 1 && travelled > 4) {
    canvas.classList.add("moving");
    move({ ...view, x: view.x + now.x - finger.x, y: view.y + now.y - finger.y });
  }
  if (fingers.size === 2) {
    const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, one]) => one);
    const apart = (one) => Math.max(20, Math.hypot(one.x - other.x, one.y - other.y));
    zoom(apart(now) / apart(finger), other.x, other.y);
  }
  fingers.set(event.pointerId, now);
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => {
    fingers.delete(event.pointerId);
    canvas.classList.remove("moving");
    if (name === "pointerup" && travelled <= 4) hover(nearest(event.offsetX, event.offsetY));
  });
}
canvas.addEventListener("pointerleave", () => fingers.size || hover(-1));
const reset = () => { hover(-1); showAll(); draw(false); };
canvas.addEventListener("dblclick", reset);

const middle = () => [stage.clientWidth / 2, stage.clientHeight / 2];
canvas.addEventListener("keydown", (event) => {
  const [right, down] = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key] || [];
  if (right !== undefined) move({ ...view, x: view.x + right, y: view.y + down });
  else if (event.key === "+" || event.key === "=") zoom(1.4, ...middle());
  else if (event.key === "-") zoom(1 / 1.4, ...middle());
  else if (event.key === "0") reset();
  else if (event.key === "Escape") hover(-1);
  else return;
  event.preventDefault();
});
byId("zoom").addEventListener("click", (event) => {
  const factor = Number(event.target.dataset.zoom);
  if (factor) zoom(factor, ...middle());
  else if (factor === 0) reset();
});

// --- search: every word of the query stands somewhere in the document's title, id or kept columns ---------------------

let texts = null;
function search(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  matches = null;
  if (words.length) {
    texts ||= Array.from({ length: size }, (_, i) => data.columns.map((column) => column.values[i]).join("\n").toLowerCase());
    matches = new Uint8Array(size);
    for (let i = 0; i < size; i++) {
      if (words.every((word) => texts[i].includes(word))) { matches[i] = 1; found.push(i); }
    }
  }
  const said = found.length === 1 ? "document matches" : "documents match";
  byId("count").textContent = words.length ? `${found.length.toLocaleString("en")} ${said}` : data.note;
  byId("count").dataset.matches = words.length ? found.length : "";
  byId("found").hidden = !found.length;
  byId("listed").textContent = found.length > MOST_LISTED ? `Found, the first ${MOST_LISTED}` : "Found";
  byId("hits").replaceChildren(...found.slice(0, MOST_LISTED).map(hit));
  hover(-1);
  draw(false);
}

function hit(i) {
  const item = document.createElement("li"), button = element("button", data.columns[TITLE].values[i]);
  button.type = "button";
  button.addEventListener("click", () => {
    const [x, y] = middle(), scale = Math.max(view.scale, 4 * base);
    move({ scale, x: x - places[2 * i] * scale, y: y - places[2 * i + 1] * scale });
    draw(false);
    hover(i);
  });
  item.append(button);
  return item;
}

let typing = 0;
byId("query").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const query = byId("query").value;
    history.replaceState(null, "", query ? `#q=${encodeURIComponent(query)}` : "#");
    search(query);
  }, 120);
});

// A search can be linked to: #q=words
function searchAsLinked() {
  const linked = new URLSearchParams(location.hash.slice(1)).get("q") || "";
  byId("query").value = linked;
  search(linked);
}
addEventListener("hashchange", searchAsLinked);

// --- legend ---------------------------------------------------------------------------------------------------------

function colorBy(number) {
  if (coloring !== colorings[number]) hidden = new Set();
  coloring = colorings[number];
  if (!coloring.order) {
    coloring.order = coloring.colors.map(() => []);
    for (let i = 0; i < size; i++) coloring.order[coloring.numbers[i]].push(i);
  }
  byId("subject").textContent = coloring.name;
  byId("scale").hidden = !coloring.ends;
  byId("legend").replaceChildren();
  if (coloring.ends) {
    [byId("low").textContent, byId("high").textContent] = coloring.ends;
    byId("ramp").style.background = `linear-gradient(to right, ${coloring.colors.slice(0, -1).map(tinted).join()})`;
  } else {
    coloring.labels.forEach((label, group) => coloring.sizes[group] && byId("legend").append(entry(label, group)));
  }
  draw(false);
}

function entry(label, group) {
  const item = document.createElement("li"), button = element("button", ""), spot = document.createElement("i");
  spot.style.background = spot.style.borderColor = tinted(coloring.colors[group]);
  button.type = "button";
  button.setAttribute("aria-pressed", String(!hidden.has(group)));
  button.append(spot, element("span", label), element("small", coloring.sizes[group].toLocaleString("en")));
  button.addEventListener("click", () => {
    if (!hidden.delete(group)) hidden.add(group);
    button.setAttribute("aria-pressed", String(!hidden.has(group)));
    hover(-1);
    draw(false);
  });
  item.append(button);
  return item;
}

colorings.forEach((one, number) => byId("by").append(Object.assign(element("option", one.name), { value: number })));
byId("choice").hidden = colorings.length < 2;
byId("by").addEventListener("change", (event) => colorBy(Number(event.target.value)));

// --- begin ----------------------------------------------------------------------------------------------------------

darkness.addEventListener("change", () => colorBy(colorings.indexOf(coloring)));
new ResizeObserver(() => { if (isWhole) showAll(); draw(false); }).observe(stage);
showAll();
colorBy(0);
searchAsLinked();
