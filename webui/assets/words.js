// How things are said: times, ages, roles.

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** A time in milliseconds as people say it: `120 ms`, `4.2 s`, `3 min 20 s`. */
export function duration(millis) {
  if (millis < 1000) return `${Math.max(0, Math.round(millis))} ms`;
  if (millis < 10000) return `${(millis / 1000).toFixed(1)} s`;
  let seconds = Math.floor(millis / 1000);
  const parts = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(seconds / size);
    seconds -= count * size;
    if (count > 0) parts.push(`${count} ${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

/** Microseconds as milliseconds, or a dash. */
export const micros = (value) => (value === null ? "–" : `${(value / 1000).toFixed(2)} ms`);

/** What is told as seconds and nanoseconds, in milliseconds. */
export const millisOf = ({ secs, nanos }) => secs * 1000 + nanos / 1e6;

/** How a role, a state or a severity looks. */
export const look = (word) => LOOKS[word] ?? "faint";

const LOOKS = {
  active: "good", standby: "note", activating: "warn", deactivating: "warn", fault: "bad",
  alive: "good", degraded: "warn", silent: "bad", left: "warn",
  up: "good", suspect: "warn", down: "bad", idle: "faint",
  reachable: "good", unreachable: "bad",
  started: "good", starting: "warn", stopping: "warn", failed: "bad", stuck: "bad",
  info: "faint", warning: "warn", alarm: "bad",
};
