"use strict";
// The page of a map, first part: what it was given, how it is drawn, and which document is where.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const places = new Float32Array(bytes(data.places).buffer); // x0, y0, x1, y1 ... within 0..1, y downwards
const colorings = data.colorings.map((one) => ({ ...one, numbers: bytes(one.numbers) }));
const clusters = colorings.at(-1);
const size = places.length / 2;
const canvas = byId("map"), context = canvas.getContext("2d"), stage = byId("stage"), card = byId("card");
const layer = document.createElement("canvas"), ink = layer.getContext("2d");
const TITLE = 0, REACH = 14, MOST_LISTED = 50;
const darkness = matchMedia("(prefers-color-scheme: dark)");

let coloring = colorings[0];
let hidden = new Set(); // groups switched off in the legend
let matches = null; // Uint8Array of 0 and 1 while something is searched for
let hovered = -1;
let view = { scale: 1, x: 0, y: 0 }; // pixels of a place p: p * scale + x
let base = 1; // the scale at which all is seen
let isWhole = true; // whether nobody has moved the map since
let drawn = null; // the view that `layer` shows

// --- what is to be seen -------------------------------------------------------------------------------------------

const isShown = (i) => !hidden.has(coloring.numbers[i]);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const isIn = (x, y) => x > -9 && y > -9 && x < stage.clientWidth + 9 && y < stage.clientHeight + 9;

function showAll() {
  const { clientWidth: width, clientHeight: height } = stage, pad = Math.min(46, width / 9);
  const scale = Math.max(50, Math.min(width, height) - 2 * pad);
  const [right, down] = data.extent;
  const fit = Math.min((width - 2 * pad) / right, (height - 2 * pad) / down, 4 * scale);
  base = fit;
  isWhole = true;
  view = { scale: fit, x: (width - fit * right) / 2, y: (height - fit * down) / 2 };
}

// The colours are made for white; with some white in them they are as clear on nearly black.
function tinted(color) {
  const channels = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return `rgb(${channels.map((one) => darkness.matches ? Math.round(.74 * one + .26 * 255) : one).join()})`;
}

// Points go to a layer of their own, one colour after another. While the map moves, the layer is moved and stretched;
// it is drawn anew in the next frame if that is quick, and else when the map has come to rest.
function drawLayer() {
  const began = performance.now(), ratio = devicePixelRatio || 1;
  layer.width = canvas.width;
  layer.height = canvas.height;
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  // Marks cover about an eighth of the map, however large it is; from nearby they are larger.
  const room = Math.sqrt(stage.clientWidth * stage.clientHeight / size);
  const radius = Math.max(1, Math.min(5, .19 * room)) * Math.min(2.2, Math.sqrt(view.scale / base));
  if (matches) {
    ink.globalAlpha = Number(style("--dim"));
    drawPoints(radius, (i) => !matches[i]);
  }
  ink.globalAlpha = matches ? 1 : .85;
  drawPoints(matches ? Math.max(2.5, radius * 1.4) : radius, matches ? (i) => matches[i] : () => true);
  drawn = { ...view };
  drawLayer.milliseconds = performance.now() - began;
}

function drawPoints(radius, wanted) {
  const side = 2 * radius, { scale, x, y } = view, isSmall = radius < 1.8;
  for (let group = 0; group < coloring.order.length; group++) {
    if (hidden.has(group)) continue;
    ink.fillStyle = tinted(coloring.colors[group]);
    ink.beginPath();
    for (const i of coloring.order[group]) {
      if (!wanted(i)) continue;
      const px = places[2 * i] * scale + x, py = places[2 * i + 1] * scale + y;
      if (!isIn(px, py)) continue;
      if (isSmall) ink.rect(px - radius, py - radius, side, side);
      else { ink.moveTo(px + radius, py); ink.arc(px, py, radius, 0, 7); }
    }
    // One path is painted once: points on top of each other do not become darker.
    ink.fill();
  }
}

let frame = 0, rest = 0;
function draw(isMoving) {
  if (!frame) frame = requestAnimationFrame(() => { frame = 0; paint(isMoving); });
}

function paint(isMoving) {
  const ratio = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = stage;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    drawn = null;
  }
  clearTimeout(rest);
  if (!drawn || !isMoving || drawLayer.milliseconds < 14) drawLayer();
  else rest = setTimeout(() => { drawLayer(); draw(false); }, 110);
  const stretch = view.scale / drawn.scale;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  // While something is searched for, no name may cover what is found.
  if (matches) drawNames(width, height);
  context.drawImage(layer, view.x - drawn.x * stretch, view.y - drawn.y * stretch, width * stretch, height * stretch);
  if (!matches) drawNames(width, height);
  if (hovered >= 0) {
    context.beginPath();
    context.arc(places[2 * hovered] * view.scale + view.x, places[2 * hovered + 1] * view.scale + view.y, 8, 0, 7);
    context.lineWidth = 2;
    context.strokeStyle = style("--ink");
    context.stroke();
  }
}

// Names stand where their group is densest, the largest first; one that would cover another waits for a closer view.
function drawNames(width, height) {
  const taken = [], letters = width < 600 ? 11 : 13;
  context.font = `600 ${letters}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.lineWidth = 4;
  for (const { text, x, y } of data.names) {
    const lines = text.split(", "), half = Math.max(...lines.map((line) => context.measureText(line).width)) / 2 + 3;
    const tall = lines.length * letters * 1.15 / 2;
    const px = Math.min(Math.max(x * view.scale + view.x, half), width - half), py = y * view.scale + view.y;
    const isOver = (one) => Math.abs(one.px - px) < one.half + half && Math.abs(one.py - py) < one.tall + tall;
    if (!isIn(x * view.scale + view.x, py) || taken.some(isOver)) continue;
    taken.push({ px, py, half, tall });
    lines.forEach((line, number) => {
      const at = py + (number - (lines.length - 1) / 2) * letters * 1.15;
      context.strokeStyle = style("--halo");
      context.strokeText(line, px, at);
      context.fillStyle = style(matches ? "--soft" : "--ink");
      context.fillText(line, px, at);
    });
  }
}

// --- one document ---------------------------------------------------------------------------------------------------

// Points by cell of a grid: those of cell c are cellPoints[cellStarts[c]] up to cellPoints[cellStarts[c + 1]].
const SIDE = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(size / 2))));
const cellOf = (at) => Math.min(SIDE - 1, Math.max(0, Math.floor(at * SIDE)));
const cellStarts = new Uint32Array(SIDE * SIDE + 1), cellPoints = new Uint32Array(size);
const cellAt = (i) => cellOf(places[2 * i + 1]) * SIDE + cellOf(places[2 * i]);
for (let i = 0; i < size; i++) cellStarts[cellAt(i) + 1]++;
for (let c = 0; c < SIDE * SIDE; c++) cellStarts[c + 1] += cellStarts[c];
const next = cellStarts.slice();
for (let i = 0; i < size; i++) cellPoints[next[cellAt(i)]++] = i;

function nearest(px, py) {
  const x = (px - view.x) / view.scale, y = (py - view.y) / view.scale, reach = REACH / view.scale;
  let best = -1, least = reach * reach;
  for (let row = cellOf(y - reach); row <= cellOf(y + reach); row++) {
    for (let column = cellOf(x - reach); column <= cellOf(x + reach); column++) {
      const cell = row * SIDE + column;
      for (let k = cellStarts[cell]; k < cellStarts[cell + 1]; k++) {
        const i = cellPoints[k], away = (places[2 * i] - x) ** 2 + (places[2 * i + 1] - y) ** 2;
        if (away < least && isShown(i) && (!matches || matches[i])) { best = i; least = away; }
      }
    }
  }
  return best;
}

const element = (name, text) => Object.assign(document.createElement(name), { textContent: text });

function hover(i) {
  if (i === hovered) return;
  hovered = i;
  card.hidden = i < 0;
  if (i >= 0) {
    const rows = element("dl", "");
    for (const { name, values } of data.columns.slice(1)) {
      if (values[i] !== "") rows.append(element("dt", name), element("dd", values[i]));
    }
    rows.append(element("dt", clusters.name), element("dd", clusters.labels[clusters.numbers[i]]));
    card.replaceChildren(element("b", data.columns[TITLE].values[i]), rows);
    placeCard();
  }
  draw(false);
}

function placeCard() {
  const x = places[2 * hovered] * view.scale + view.x, y = places[2 * hovered + 1] * view.scale + view.y;
  const { clientWidth: width, clientHeight: height } = stage, { offsetWidth: wide, offsetHeight: tall } = card;
  const left = x + 16 + wide < width ? x + 16 : Math.max(8, Math.min(x - 16 - wide, width - wide - 8));
  card.style.transform = `translate(${left}px, ${Math.max(8, Math.min(y + 14, height - tall - 8))}px)`;
}
