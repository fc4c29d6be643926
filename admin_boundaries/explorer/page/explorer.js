// The map: layers from the archive, what is under the pointer, and what is known of the place that is chosen.
"use strict";

const $ = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)"), wide = matchMedia("(min-width: 701px)");
const LIGHT = {
  text: "#1d2a33", halo: "rgba(255, 255, 255, 0.85)", sea: "#dfe9ee", line: "#5b6f7c", strong: "#22323d", chosen: "#c2185b", none: "#f3f5f6",
  hues: ["#f7d9c4", "#d5e8d4", "#dad9f0", "#fbeec1", "#cfe5f2", "#f4d3e0", "#e3e3cd", "#cdeae5"],
  anomaly: { info: "#bcd9ea", warning: "#f3c66b", error: "#e0776b" },
};
const DARK = {
  text: "#eef3f6", halo: "rgba(12, 19, 24, 0.85)", sea: "#0c1318", line: "#8b9ca8", strong: "#dbe5ea", chosen: "#ff6fa5", none: "#26323a",
  hues: ["#5b4334", "#36503a", "#42416a", "#5d5430", "#2f5066", "#5f3a4d", "#4e4f38", "#2f5853"],
  anomaly: { info: "#2f5d78", warning: "#8a6416", error: "#8f362d" },
};
const CHANGES = {
  new: ["#4caf7a", "#2f7a4f"], split: ["#e69138", "#9a5c1c"], merged: ["#8e7cc3", "#5d4f91"], complex: ["#c27ba0", "#85476a"],
  reshaped: ["#f1c232", "#8d7118"], moved: ["#6fa8dc", "#376a99"], renamed: ["#a2c4c9", "#4c7379"], "re-keyed": ["#b7b7b7", "#6a6a6a"],
};
const FOUND = 20;  // of what is typed
const HINT = $("hint").textContent;
const colours = () => (dark.matches ? DARK : LIGHT);
let config, archive, map, levels, lists, state = { level: "auto", colour: "parent", gid: null }, place = null, asked = 0;

async function json(path) {
  const answer = await fetch(path);
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `${path}: the server answered ${answer.status}.`);
  return answer.json();
}

// The server may have to draw the tiles first, once for each build.
async function configuration() {
  for (;;) {
    const found = await json("config.json");
    if (found.tiles) return found;
    $("hint").textContent = `The map is being drawn, once for these tables: ${Math.round(100 * found.drawn)} %.`;
    await new Promise((done) => setTimeout(done, 500));
  }
}

// ---- what is known: from the server, or from files

// The last file whose first text comes before another; one that begins with that very text may go on in the next ones.
const before = (list, wanted) => {
  let low = 0, high = list.length;
  while (low < high) { const middle = (low + high) >> 1; if (list[middle] < wanted) low = middle + 1; else high = middle; }
  return Math.max(low - 1, 0);
};

async function details(gid) {
  if (config.served) return json(`unit?gid=${encodeURIComponent(gid)}`);
  const first = before(config.units, gid), number = config.units[first + 1] === gid ? first + 1 : first;
  return (await json(`units/${number}.json`))?.find((each) => each.gid === gid) ?? null;
}

const folded = (text) => [...text.toLowerCase()].map((letter) => config.fold[letter] ?? letter).join("").replace(/\s+/g, " ").trim();

// The units whose key a text is, then those that have it as a code.
async function coded(text) {
  const typed = [...new Set([text.trim(), text.trim().toUpperCase()])], found = new Map();
  const add = async (gid, place) => {
    const unit = found.has(gid) ? null : await details(gid);
    if (unit) found.set(gid, { ...unit, path: (unit.chain ?? []).map((each) => each[1]).join(" > "), place });
  };
  for (const each of typed) await add(each, 0);
  for (const each of typed)
    for (let number = before(config.codes, each); number < config.codes.length && config.codes[number] <= each; number++)
      for (const [code, gid] of await json(`codes/${number}.json`)) if (code === each) await add(gid, 1);
  const rank = (each) => [each.place, each.level, each.path, each.gid];
  return [...found.values()].sort((one, other) => inOrder(rank(one), rank(other)));
}

function inOrder(one, other) {
  const at = one.findIndex((value, place) => value !== other[place]);
  return at < 0 ? 0 : one[at] < other[at] ? -1 : 1;
}

async function find(text) {
  if (config.served) return json(`find?name=${encodeURIComponent(text)}`);
  const codes = await coded(text), known = new Set(codes.map((each) => each.gid));
  return [...codes, ...(await named(text)).filter((each) => !known.has(each.gid))].slice(0, FOUND);
}

async function named(text) {
  const wanted = folded(text), kinds = { name: 0, variant: 1, local: 2 }, best = new Map();
  if (!wanted) return [];
  for (let number = before(config.names, wanted); number < config.names.length && best.size < 400; number++) {
    if (number && config.names[number] > wanted && !config.names[number].startsWith(wanted)) break;
    for (const [name_folded, kind, name, gid, level, type, path] of await json(`names/${number}.json`)) {
      if (!name_folded.startsWith(wanted)) continue;
      const rank = [name_folded === wanted ? 0 : 1, kinds[kind], level, path, gid];
      if (!best.has(gid) || inOrder(rank, best.get(gid).rank) < 0) best.set(gid, { rank, gid, level, name, type, path });
    }
  }
  return [...best.values()].sort((one, other) => inOrder(one.rank, other.rank));
}

// ---- the map

// Around the circle of hues once, from UTC−12 to UTC+14, as in the picture of the time zones; every other hour is darker.
function offsetColour(minutes) {
  const isOdd = Math.abs(Math.floor(minutes / 60)) % 2, [vivid, light] = dark.matches ? [34, isOdd ? 24 : 36] : [52, isOdd ? 70 : 84];
  return `hsl(${Math.round(((minutes / 60 + 12) / 27) * 360)}, ${vivid}%, ${light}%)`;
}

function zoneColour() {
  const pairs = config.zones.flatMap(([tzid, minutes]) => [tzid, offsetColour(minutes ?? 0)]);
  return pairs.length ? ["match", ["get", "gid"], ...pairs, colours().none] : colours().none;
}

function fillColour() {
  const now = colours();
  if (state.colour === "anomaly") return ["match", ["get", "anomaly"], ...Object.entries(now.anomaly).flat(), now.none];
  if (state.colour === "change")
    return ["match", ["get", "change"], ...Object.entries(CHANGES).flatMap(([type, pair]) => [type, pair[dark.matches ? 1 : 0]]), now.none];
  return ["match", ["get", "hue"], ...now.hues.flatMap((colour, hue) => [hue, colour]), now.none];
}

function shownLevel() {
  if (state.level !== "auto") return Number(state.level);
  const zoom = map.getZoom(), wanted = zoom < 2.6 ? 0 : zoom < 4.6 ? 1 : zoom < 7.2 ? 2 : zoom < 8.4 ? 3 : zoom < 9.4 ? 4 : 5;
  return Math.max(...levels.filter((level) => level <= wanted));
}

function draw() {
  const now = colours(), shown = shownLevel();
  map.setPaintProperty("sea", "background-color", now.sea);
  map.setPaintProperty("timezones-fill", "fill-opacity", state.colour === "zone" ? 1 : 0);  // a click asks it always
  map.setLayoutProperty("timezones-line", "visibility", state.colour === "zone" ? "visible" : "none");
  map.setPaintProperty("timezones-fill", "fill-color", zoneColour());
  map.setPaintProperty("timezones-line", "line-color", now.strong);
  for (const level of levels) {
    const visibility = level <= shown ? "visible" : "none";
    for (const part of ["fill", "line"]) map.setLayoutProperty(`level_${level}-${part}`, "visibility", visibility);
    map.setPaintProperty(`level_${level}-fill`, "fill-color", fillColour());
    map.setPaintProperty(`level_${level}-fill`, "fill-opacity", state.colour === "zone" ? 0 : 1);
    map.setPaintProperty(`level_${level}-line`, "line-color", level === shown && shown > 0 ? now.line : now.strong);
    map.setPaintProperty(`level_${level}-line`, "line-width", Math.max(0.5, Math.min(0.5 + 0.6 * (shown - level), 2)));
    map.setPaintProperty(`level_${level}-ground`, "fill-color", now.chosen);
    for (const part of ["hover", "chosen"]) map.setPaintProperty(`level_${level}-${part}`, "line-color", part === "hover" ? now.strong : now.chosen);
  }
  names(shown);
  const isDeeper = state.level !== "auto" && config.first_zooms[`level_${state.level}`] > Math.floor(map.getZoom());
  $("deeper").textContent = isDeeper ? `Level ${state.level} shows when you zoom in.` : "";
  legend();
  remember();
}

// ---- names: pictures that the browser writes, in whatever script, since fonts for maps would come from elsewhere

let pictures = 0, edition = 0;
const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';

function names(shown) {
  const there = Math.max(...levels.filter((level) => level <= shown && config.first_zooms[`level_${level}`] <= Math.floor(map.getZoom())));
  const level = ["get", "level"], fits = ["<=", ["get", "from_zoom"], ["zoom"]];
  map.setFilter("labels-names", ["all", fits, ["any", ["==", level, there], ["all", ["<", level, there], ["has", "leaf"]]]]);
  map.setFilter("labels-above", ["all", fits, ["==", level, there - 1], ["!", ["has", "leaf"]]]);
  for (const part of ["names", "above"]) {
    map.setLayoutProperty(`labels-${part}`, "icon-image", ["concat", `${edition}|${dark.matches ? "dark" : "light"}|${part}|`, ["get", "name"]]);
    map.setLayoutProperty(`labels-${part}`, "symbol-sort-key", ["get", "from_zoom"]);
  }
}

// Long names take two lines, of about the same length.
function lines(name) {
  if (name.length <= 14 || !name.includes(" ")) return [name];
  const words = name.split(" "), firsts = words.slice(1).map((_, at) => words.slice(0, at + 1).join(" "));
  const first = firsts.reduce((best, each) => (Math.abs(2 * each.length - name.length) < Math.abs(2 * best.length - name.length) ? each : best));
  return [first, name.slice(first.length + 1)];
}

function write({ id }) {
  const [, scheme, part, ...rest] = id.split("|"), now = scheme === "dark" ? DARK : LIGHT, isAbove = part === "above";
  // finer than the screen, which makes MapLibre mix pixels: at the screen's own size, it may leave a row of them out
  const written = lines(rest.join("|")), ratio = Math.min(Math.max(devicePixelRatio, 1) + 1, 3), size = isAbove ? 14 : 12.5, high = Math.round(size * 1.2), edge = 3;
  const prepare = () => {
    pen.font = `${isAbove ? 700 : 500} ${size}px ${FONT}`;
    pen.letterSpacing = isAbove ? "1px" : "0px";
    [pen.textAlign, pen.textBaseline, pen.lineJoin, pen.lineWidth] = ["center", "middle", "round", 2 * edge - 2];
    [pen.strokeStyle, pen.fillStyle] = [now.halo, now.text];
  };
  prepare();
  const wide = Math.ceil(Math.max(...written.map((line) => pen.measureText(line).width))) + 2 * edge, whole = written.length * high + 2 * edge;
  [pen.canvas.width, pen.canvas.height] = [Math.ceil(wide * ratio), Math.ceil(whole * ratio)];
  pen.scale(ratio, ratio);
  prepare();
  for (const draw of ["strokeText", "fillText"]) written.forEach((line, at) => pen[draw](line, wide / 2, edge + high * (at + 0.5)));
  map.addImage(id, pen.getImageData(0, 0, pen.canvas.width, pen.canvas.height), { pixelRatio: ratio });
  pictures++;
}

// The map keeps all pictures of names; after a long journey, it begins anew.
function forget() {
  if (pictures < 3000) return;
  const old = map.listImages();
  [pictures, edition] = [0, edition + 1];
  draw();
  map.once("idle", () => old.forEach((id) => map.removeImage(id)));
}

const BECAME = {
  new: "New: no unit had this ground.", split: "Split: several units now, or a part was cut off.", merged: "Merged: of several, or another came to it.",
  complex: "Several units became several others.", reshaped: "Its border moved.", moved: "It belongs to another unit above.",
  renamed: "It has another name.", "re-keyed": "It has another key.",
};
const FAULTS = { info: "noted", warning: "to look at", error: "serious" };
const MEANS = {
  parent: () => (shownLevel() ? "Units with the same unit above share a colour." : "Each country has a colour."),
  zone: () => "Standard time of what is in view; the line is where a zone ends.",
  anomaly: () => "Units by the worst that was wrong with the source. Choose one for a list.",
  change: () => "Units by what became of them since the release before. Choose one for a list.",
};

function swatch(colour) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  svg.setAttribute("viewBox", "0 0 11 11");
  svg.setAttribute("aria-hidden", "true");
  for (const [name, value] of Object.entries({ width: 11, height: 11, rx: 2, fill: colour })) rect.setAttribute(name, value);
  svg.append(rect);
  return svg;
}

function legend() {
  const now = colours(), known = lists?.[state.colour] ?? {};
  const counted = (kind, text) => [`${text}, ${known[kind].count.toLocaleString()}`, kind];
  let rows = [];
  if (state.colour === "anomaly")
    rows = [...Object.keys(now.anomaly).filter((kind) => known[kind]).map((kind) => [now.anomaly[kind], ...counted(kind, FAULTS[kind])]), [now.none, "nothing"]];
  if (state.colour === "change")
    rows = [...Object.keys(CHANGES).filter((kind) => known[kind]).map((kind) => [CHANGES[kind][dark.matches ? 1 : 0], ...counted(kind, kind)]), [now.none, "nothing"]];
  if (state.colour === "zone") {
    const seen = map.queryRenderedFeatures({ layers: ["timezones-fill"] }).map((zone) => zone.properties.offset ?? null);
    const offsets = [...new Set(seen)].filter((minutes) => minutes !== null).sort((one, other) => one - other);
    rows = offsets.filter((minutes) => offsets.length <= 16 || minutes % 60 === 0).map((minutes) => [offsetColour(minutes), utc(minutes)]);
  }
  $("means").textContent = MEANS[state.colour]();
  const focused = document.activeElement?.dataset?.kind;
  $("legend").replaceChildren(...rows.map(([colour, text, kind]) => {
    const item = element("li");
    if (!kind) item.append(swatch(colour), text);
    else {
      const made = element("button", text, { type: "button", class: "link", "data-kind": kind });
      made.addEventListener("click", () => listed(kind));
      item.append(swatch(colour), made);
    }
    return item;
  }));
  if (focused) document.querySelector(`#legend [data-kind="${focused}"]`)?.focus();
}

function listed(kind) {
  asked++;
  const { count, units } = lists[state.colour][kind];
  present(units);
  $("hint").hidden = count <= units.length;
  $("hint").textContent = `The first ${units.length} of ${count.toLocaleString()}:`;
  $("results").querySelector("button")?.focus();
}

const utc = (minutes) => {
  const size = Math.abs(minutes), hours = Math.floor(size / 60);
  return `UTC${minutes < 0 ? "−" : "+"}${hours}${size % 60 ? `:${String(size % 60).padStart(2, "0")}` : ""}`;
};

function style() {
  const layers = [{ id: "sea", type: "background", paint: { "background-color": colours().sea } }];
  const of = (layer, part, more) => ({ id: `${layer}-${part}`, source: "units", "source-layer": layer, ...more });
  layers.push(of("timezones", "fill", { type: "fill" }));
  for (const level of levels) layers.push(of(`level_${level}`, "fill", { type: "fill", paint: { "fill-antialias": false } }));
  for (const level of [...levels].reverse()) layers.push(of(`level_${level}`, "line", { type: "line", layout: { "line-join": "round" } }));
  layers.push(of("timezones", "line", { type: "line", layout: { "line-join": "round" }, paint: { "line-width": 1.4 } }));
  for (const level of levels)
    layers.push(of(`level_${level}`, "ground", { type: "fill", filter: ["==", ["get", "gid"], ""], paint: { "fill-opacity": 0.22 } }));
  for (const part of ["hover", "chosen"])
    for (const level of levels)
      layers.push(of(`level_${level}`, part, { type: "line", filter: ["==", ["get", "gid"], ""], layout: { "line-join": "round" }, paint: { "line-width": part === "hover" ? 2 : 3.5 } }));
  for (const part of ["names", "above"]) layers.push(of("labels", part, { type: "symbol", layout: { "icon-padding": 3 } }));
  return {
    version: 8,
    sources: { units: { type: "vector", tiles: ["archive://{z}/{x}/{y}"], minzoom: archive.zooms[0], maxzoom: archive.zooms[1] } },
    layers,
  };
}

function under(point) {
  const shown = levels.filter((level) => level <= shownLevel()).map((level) => `level_${level}-fill`);
  const found = map.queryRenderedFeatures(point, { layers: shown });
  return found.sort((one, other) => other.properties.level - one.properties.level)[0]?.properties ?? null;
}

function zoneUnder(point) {
  return map.queryRenderedFeatures(point, { layers: ["timezones-fill"] })[0]?.properties.gid ?? null;
}

function outline(part, gid, level) {
  for (const each of levels) map.setFilter(`level_${each}-${part}`, ["==", ["get", "gid"], each === level && gid ? gid : ""]);
}

function mark(gid, level) {
  outline("ground", gid, level);
  outline("chosen", gid, level);
}

function hover(event) {
  const unit = event && under(event.point), tip = $("tip");
  outline("hover", unit?.gid, unit?.level);
  tip.hidden = !unit;
  map.getCanvas().style.cursor = unit ? "pointer" : "";
  if (!unit) return;
  tip.textContent = [unit.name ?? unit.gid, state.colour === "zone" && unit.zone?.replaceAll("_", " ")].filter(Boolean).join(" · ");
  const box = $("map").getBoundingClientRect();
  tip.style.left = `${Math.min(event.point.x + 14, box.width - tip.offsetWidth - 6)}px`;
  tip.style.top = `${Math.max(event.point.y - 34, 4)}px`;
}

// ---- the panel

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== null && text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function button(text, gid, className = "link") {
  const made = element("button", text, { type: "button", class: className });
  made.addEventListener("click", () => choose(gid, { isMoved: true }));
  return made;
}

function section(title, ...content) {
  return [element("h3", title), ...content];
}

function say(text) { $("said").textContent = text; }

function clock(tzid) {
  try {
    const format = (more) => new Intl.DateTimeFormat(undefined, { timeZone: tzid, ...more }).format(new Date());
    const offset = new Intl.DateTimeFormat("en", { timeZone: tzid, timeZoneName: "shortOffset" }).formatToParts(new Date()).find((part) => part.type === "timeZoneName").value;
    return [format({ hour: "2-digit", minute: "2-digit" }), `${format({ weekday: "long", day: "numeric", month: "long" })}, ${offset.replace("GMT", "UTC")}`];
  } catch { return ["", "This browser does not know the zone."]; }
}

function tick() {
  for (const each of document.querySelectorAll("[data-zone]")) {
    const [time, day] = clock(each.dataset.zone);
    if (each.firstChild.textContent !== time) each.firstChild.textContent = time;
    if (each.lastChild.textContent !== day) each.lastChild.textContent = day;
  }
}

function zones(names) {
  return names.flatMap(([tzid, share], at) => {
    const made = element("div", null, { "data-zone": tzid });
    made.append(element("p", "", { class: at ? "quiet" : "clock" }), element("p", "", { class: "quiet" }));
    const part = names.length > 1 && share ? `, ${share < 0.01 ? "less than 1" : Math.round(share * 100)} % of it` : "";
    return [made, element("p", `${tzid.replaceAll("_", " ")}${part}`)];
  });
}

function show(unit) {
  const parts = [], chain = element("ol", null, { class: "chain", "aria-label": "Lies in" });
  for (const [gid, name] of unit.chain ?? []) if (gid !== unit.gid) {
    const item = element("li");
    item.append(button(name, gid));
    chain.append(item);
  }
  if (chain.children.length) parts.push(chain);
  parts.push(element("h2", unit.name ?? unit.gid, { tabindex: "-1" }));
  parts.push(element("p", unit.type ? `${unit.type}, level ${unit.level}` : `Level ${unit.level}`, { class: "quiet" }));
  if (unit.zones) parts.push(...section("Local time", ...zones(unit.zones)));
  if (unit.neighbours) {
    const list = element("ul", null, { class: "beside" });
    for (const [gid, name] of unit.neighbours) {
      const item = element("li");
      item.append(button(name, gid, ""));
      list.append(item);
    }
    parts.push(...section("Neighbours", list));
    if (unit.more_neighbours) parts.push(element("p", `and ${unit.more_neighbours} more`, { class: "quiet" }));
  }
  const facts = element("dl");
  const fact = (term, text) => { if (text) facts.append(element("dt", term), element("dd", text)); };
  fact("Area", unit.area && `${unit.area.toLocaleString(undefined, { maximumSignificantDigits: 4 })} km²`);
  fact("Local name", unit.local?.join(", "));
  fact("Also called", unit.variants?.join(", "));
  fact("Units below", unit.children?.toLocaleString());
  fact("Key", unit.gid);
  for (const [scheme, code] of unit.codes ?? []) fact(scheme.replaceAll("_", " ").replace(/^(iso|hasc|fips|p code|geoid)/, (text) => text.toUpperCase()), code);
  parts.push(...section("Facts", facts));
  if (unit.change) parts.push(...section(`What changed since ${unit.change[1]}`, ...changed(unit)));
  const faults = element("ul", null, { class: "faults" });
  for (const [severity, type, detail, action] of unit.faults ?? []) {
    const item = element("li", null, { class: severity });
    item.append(`${type.replaceAll("_", " ")}: ${detail} `, element("span", action, { class: "quiet" }));
    faults.append(item);
  }
  if (faults.children.length) parts.push(...section("What was wrong with the source", faults));
  if (unit.licence) parts.push(...section("Licence", element("p", [unit.licence, unit.attribution].filter(Boolean).join(". "), { class: "quiet" })));
  $("place").replaceChildren(...parts);
  $("place").hidden = false;
  $("hint").hidden = true;
  $("panel").scrollTop = 0;
  document.title = `${unit.name ?? unit.gid}: map of administrative boundaries`;
  tick();
}

// Keys of the release before may be those of other places now, so nothing is linked.
function changed(unit) {
  const [type, , before] = unit.change, list = element("ul", null, { class: "faults" });
  for (const [gid, name, share] of before)
    list.append(element("li", `${name ?? gid} (${gid})${share ? `, ${share < 0.01 ? "less than 1" : Math.round(100 * share)} % of the ground` : ""}`));
  const parts = [element("p", BECAME[type] ?? type)];
  if (before.length) parts.push(element("p", "Before:", { class: "quiet" }), list);
  return parts;
}

// Where bounds are seen whole: to the right of what covers the top left of the map, or below it, as they are larger.
function whole(bounds, padding) {
  const over = $("choices"), room = map.getContainer(), sides = { top: padding, bottom: padding, left: padding, right: padding };
  const left = Math.max(padding, over.offsetLeft + over.offsetWidth + 10), top = Math.max(padding, over.offsetTop + over.offsetHeight + 10);
  const ways = [left + padding < room.clientWidth && { left }, top + padding < room.clientHeight && { top }].filter(Boolean);
  const cameras = ways.map((way) => map.cameraForBounds(bounds, { padding: { ...sides, ...way }, maxZoom: 11 })).filter(Boolean);
  return cameras.sort((one, other) => other.zoom - one.zoom)[0];
}

async function choose(gid, { isMoved = false, isFocused = isMoved } = {}) {
  const mine = ++asked;
  const late = setTimeout(() => { if (mine === asked) { $("results").replaceChildren(); wait("Looking it up …"); } }, 250);
  let unit;
  try { unit = await details(gid); } catch (error) { return trouble(error); } finally { clearTimeout(late); }
  if (mine !== asked) return;
  if (!unit) return trouble(new Error(`There is no unit ${gid}.`));
  place = unit;
  state.gid = gid;
  $("results").replaceChildren();
  show(unit);
  mark(gid, unit.level);
  if (isMoved && unit.box) {
    if (state.level !== "auto" && Number(state.level) < unit.level) pickLevel(String(unit.level));
    const [west, south, east, north] = unit.box;
    const least = config.first_zooms[`level_${unit.level}`] ?? 0;
    const bounds = [[west, Math.max(south, -85)], [east, Math.min(north, 85)]];
    const camera = whole(bounds, Math.min(map.getContainer().clientHeight, map.getContainer().clientWidth) / 5);
    if (camera) map.jumpTo(camera.zoom < least ? { center: [(west + east) / 2, (bounds[0][1] + bounds[1][1]) / 2], zoom: least } : camera);
  }
  if (isFocused) $("place").querySelector("h2").focus({ preventScroll: true });
  say(`${unit.name ?? unit.gid} is open.`);
  remember();
  return true;
}

async function click(event, { isFocused = false } = {}) {
  $("tip").hidden = true;
  const unit = under(event.point), { lng, lat } = event.lngLat.wrap();
  if (!unit) sea(zoneUnder(event.point), isFocused);
  else if (!(await choose(unit.gid, { isFocused }))) return;
  const mine = asked, point = [lng, lat].map((degrees) => degrees.toFixed(5));  // longitude first, as `locate` takes it
  const there = config.served ? await json(`locate?lon=${point[0]}&lat=${point[1]}`).catch(() => null) : null;
  if (mine !== asked) return;
  const where = element("p", "Longitude and latitude: ", { class: "quiet" });
  where.append(element("code", point.join(" ")));
  $("place").append(...section("The point that was clicked", where));
  if (!there || (!unit && !there.gid)) return;
  const line = element("p", there.gid ? null : there.status);
  if (there.gid) line.append(button(there.path, there.gid));
  $("place").append(line);
}

function sea(tzid, isFocused) {
  asked++;
  place = null;
  state.gid = null;
  mark(null, null);
  const parts = [element("h2", "No unit here", { tabindex: "-1" })];
  if (tzid) parts.push(...section("Local time", ...zones([[tzid, null]])));
  $("place").replaceChildren(...parts);
  $("place").hidden = false;
  $("hint").hidden = true;
  if (isFocused) $("place").querySelector("h2").focus({ preventScroll: true });
  tick();
  remember();
}

// What the panel says while no place is chosen.
function rest() {
  const list = element("ul", null, { class: "beside" });
  for (const [gid, name] of config.countries.sort((one, other) => one[1].localeCompare(other[1]))) {
    const item = element("li");
    item.append(button(name, gid, ""));
    list.append(item);
  }
  $("hint").textContent = HINT;
  $("hint").hidden = false;
  $("results").replaceChildren();
  $("place").replaceChildren(...section("Countries", list));
  $("place").hidden = false;
}

function trouble(error) {
  $("hint").hidden = false;
  $("hint").textContent = error.message;
  say(error.message);
}

function wait(text) {
  $("place").hidden = true;
  $("hint").hidden = false;
  $("hint").textContent = text;
}

function present(found) {
  $("place").hidden = true;
  $("results").replaceChildren(...found.map((each) => {
    const item = element("li"), made = button("", each.gid, "");
    made.append(element("b", each.name ?? each.gid), element("span", `${each.type ?? `Level ${each.level}`} · ${each.path}`, { class: "quiet" }));
    item.append(made);
    return item;
  }));
}

let waiting;
function typed() {
  clearTimeout(waiting);
  waiting = setTimeout(search, 200);
}

async function search() {
  const text = $("name").value.trim(), mine = ++asked;
  if (!text && !place) return rest();
  if (!text) { $("results").replaceChildren(); $("place").hidden = false; $("hint").hidden = true; return; }
  const late = setTimeout(() => { if (mine === asked) wait("Searching …"); }, 250);
  let found;
  try { found = await find(text); } catch (error) { return trouble(error); } finally { clearTimeout(late); }
  if (mine !== asked) return;
  present(found);
  $("hint").hidden = found.length > 0;
  if (!found.length) {
    $("hint").textContent = `No place has a name that begins with “${text}”, or it as a code. Try only the first letters.`;
    await suggest(text, mine);
    if (mine !== asked) return;
  }
  say(found.length ? `${found.length} ${found.length === 1 ? "place" : "places"} found.` : $("hint").textContent);
}

// Names that are almost what was typed, as `find` knows them.
async function suggest(text, mine) {
  const meant = config.served ? await json(`meant?name=${encodeURIComponent(text)}`).catch(() => []) : [];
  if (mine !== asked || !meant.length) return;
  $("hint").textContent = `No place is called “${text}”. Did you mean one of these?`;
  $("results").replaceChildren(...meant.map((name) => {
    const item = element("li"), made = element("button", name, { type: "button" });
    made.addEventListener("click", () => { $("name").value = name; search(); });
    item.append(made);
    return item;
  }));
}

// ---- the address of the page

function remember() {
  const centre = map.getCenter(), parts = new URLSearchParams();
  // latitude first, as in the addresses of other maps on the web
  parts.set("at", [map.getZoom().toFixed(2), centre.lat.toFixed(4), centre.wrap().lng.toFixed(4)].join("/"));
  if (state.gid) parts.set("unit", state.gid);
  if (state.level !== "auto") parts.set("level", state.level);
  if (state.colour !== "parent") parts.set("colour", state.colour);
  history.replaceState(null, "", `#${parts.toString().replaceAll("%2F", "/")}`);
}

function pickLevel(level) {
  state.level = level;
  document.querySelector(`#levels input[value="${level}"]`).checked = true;
  draw();
}

async function recall() {
  const parts = new URLSearchParams(location.hash.slice(1)), at = (parts.get("at") ?? "").split("/").map(Number);
  const level = parts.get("level") ?? "auto", colour = parts.get("colour") ?? "parent", gid = parts.get("unit");
  state.level = level === "auto" || levels.includes(Number(level)) ? level : "auto";
  state.colour = [...$("colour").options].some((option) => option.value === colour) ? colour : "parent";
  $("colour").value = state.colour;
  const hasPlace = at.length === 3 && at.every(Number.isFinite);
  if (hasPlace) map.jumpTo({ zoom: at[0], center: [at[2], Math.max(-85, Math.min(85, at[1]))] });
  pickLevel(state.level);
  if (!hasPlace && !gid) map.jumpTo(whole(config.box, 20) ?? {});
  if (gid) await choose(gid, { isMoved: !hasPlace, isFocused: false });
}

// What the server has beside this map: its runs, and the maps of other datasets.
function offer() {
  $("runs").hidden = false;
  $("runs").href = `${config.up}../`;
  $("datasets").hidden = config.datasets.length < 2;
  for (const name of config.datasets) $("dataset").append(element("option", name, { value: name }));
  $("dataset").value = config.dataset;
  $("dataset").addEventListener("change", () => {
    const parts = new URLSearchParams(location.hash.slice(1));
    parts.delete("unit");  // others have other keys
    location.assign(`${config.up}${$("dataset").value}/#${parts.toString().replaceAll("%2F", "/")}`);
  });
}

async function begin() {
  config = await configuration();
  $("hint").textContent = HINT;
  $("fold").open = wide.matches;
  if (config.served) offer();
  archive = await new Archive(config.tiles).open();
  const layers = archive.metadata.vector_layers;
  config.first_zooms = Object.fromEntries(layers.map((layer) => [layer.id, layer.minzoom]));
  levels = layers.map((layer) => layer.id).filter((id) => id.startsWith("level_")).map((id) => Number(id.slice(6)));
  lists = await json("lists.json");
  if (!Object.keys(lists.change).length) $("colour").querySelector("[value=change]").remove();
  $("rights").open = wide.matches;
  for (const level of ["auto", ...levels]) {
    const label = element("label"), input = element("input", null, { type: "radio", name: "level", value: level });
    input.addEventListener("change", () => pickLevel(input.value));
    label.append(input, element("span", String(level)));
    $("levels").append(label);
  }
  const rights = [archive.metadata.licence, archive.metadata.attribution].filter(Boolean).join(" · ");
  $("rights").firstChild.textContent = rights ? `${config.title} · licences and sources` : config.title;
  $("rights").lastChild.textContent = rights;
  maplibregl.addProtocol("archive", async (asking, abort) => {
    const [zoom, x, y] = asking.url.split("//")[1].split("/").map(Number);
    return { data: (await archive.tile(zoom, x, y, abort.signal)) ?? new Uint8Array() };
  });
  map = new maplibregl.Map({
    container: "map", style: style(), attributionControl: false, dragRotate: false, pitchWithRotate: false, fadeDuration: 0,
    maxZoom: 16, bounds: config.box,
    locale: { "Map.Title": "Map: arrow keys move it, plus and minus zoom, Enter opens what is in the middle" },
  });
  map.touchZoomRotate.disableRotation();
  map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-right");
  map.addControl(new maplibregl.ScaleControl(), "bottom-left");
  map.on("error", (event) => trouble(event.error));
  map.on("styleimagemissing", write);
  await new Promise((done) => map.once("load", done));
  rest();
  map.on("zoomend", draw);
  map.on("moveend", () => { remember(); forget(); });
  map.on("idle", () => { if (state.colour === "zone") legend(); });  // it has the zones in view
  map.on("mousemove", hover);
  map.on("mouseout", () => hover(null));
  map.on("click", (event) => click(event));
  map.getCanvas().addEventListener("keydown", (event) => {
    if (event.key === "Enter") click({ point: map.project(map.getCenter()), lngLat: map.getCenter() }, { isFocused: true });
  });
  $("colour").addEventListener("change", () => { state.colour = $("colour").value; draw(); });
  $("name").addEventListener("input", typed);
  $("search").addEventListener("submit", async (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    await search();
    $("results").querySelector("button")?.focus();
  });
  dark.addEventListener("change", draw);
  wide.addEventListener("change", () => { $("fold").open = wide.matches; });
  addEventListener("hashchange", recall);
  setInterval(tick, 1000);
  await recall();
  map.once("idle", () => { document.body.dataset.ready = ""; });
  map.triggerRepaint();
}

begin().catch(trouble);
