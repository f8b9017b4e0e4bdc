// Curves of the last minute, one for each link.

const SPAN = 60_000;
const SVG = "http://www.w3.org/2000/svg";
const curves = new Map();

/** Keeps a value of a curve as of now. */
export function keep(name, value) {
  const now = performance.now();
  const points = (curves.get(name) ?? []).filter((point) => now - point.at < SPAN);
  points.push({ at: now, value });
  curves.set(name, points);
}

/** The curve, with its highest value in words for whoever cannot see it. */
export function chart(name, words) {
  const points = (curves.get(name) ?? []).filter((point) => point.value !== null);
  const most = Math.max(1e-9, ...points.map((point) => point.value));
  const now = performance.now();
  const at = (point) => `${(100 * (1 - (now - point.at) / SPAN)).toFixed(2)},${(29 - 28 * (point.value / most)).toFixed(2)}`;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "chart");
  svg.setAttribute("viewBox", "0 0 100 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const said = points.length > 0 ? `${words}: at most ${most.toFixed(2)} within the last minute` : `${words}: nothing yet`;
  svg.setAttribute("aria-label", said);
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("points", points.map(at).join(" "));
  svg.append(line);
  return svg;
}
