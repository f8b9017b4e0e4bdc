// The rules that are the same on every node: how they stand, and what lost when two nodes changed the same one at once.

import { ago, h, order, state, table } from "./view.js";
import { duration, millisOf } from "./words.js";

/** What rules-sync said last is the truth for so long. */
const STALE = 5e9;
/** How long the node may take to tell what lost. */
const PATIENCE = 10_000;

/** As many may lose as others are settled: the list is asked for again after so long. */
const LIST_STALE = 30_000;

/** What lost, as it was told last; of how many, and when. */
let lost = { of: 0, at: 0, conflicts: [], omitted: 0, trouble: null };

/** Asks what lost, where that may not be what it was. Whether there is something new to see. */
export async function learnConflicts(status) {
  const of = status.rules?.status?.conflicts ?? 0;
  const at = performance.now();
  if (of === lost.of && (of === 0 || at - lost.at < LIST_STALE)) return false;
  lost = { ...lost, of, at };
  if (of === 0) return true;
  try {
    const response = await fetch("/api/v1/rules/conflicts", { signal: AbortSignal.timeout(PATIENCE) });
    const told = await response.json();
    lost = response.ok ? { of, at, trouble: null, ...told } : { ...lost, trouble: told.detail };
  } catch (error) {
    lost = { ...lost, trouble: error.message };
  }
  return true;
}

export function rules(status, now, steers) {
  const watched = status.rules;
  if (watched === null) return [h("p.faint", "No rules are replicated.")];
  const said = watched.status;
  const known = watched.pid !== null && watched.answered !== null && now - watched.answered <= STALE;
  const head = known ? inSync(said) : h("p", h("strong.bad", "UNKNOWN"), `: ${watched.trouble ?? "rules-sync has not answered yet"}`);
  if (said === null) return [head];
  const directories = said.directories.map((it) => h("li", `${it.name}: ${it.paths} paths in ${it.path}`,
    it.trouble === null ? null : h("span.bad", `; ${it.trouble}`),
    it.held === null ? null : h("span.bad", `; held: ${it.held} paths are missing`),
    it.strays === 0 ? null : h("span.bad", `; ${it.strays} paths changed here and not replicated`)));
  const peers = said.peers.map((peer) => h("li", `${peer.node}: `, state(peer.reachable ? "reachable" : "unreachable"),
    peer.owed === 0 ? null : h("span.warn", `, ${peer.owed} paths wait${peer.lag === null ? "" : ` for ${duration(millisOf(peer.lag))}`}`),
    peer.compared !== null && !peer.compared[1] ? h("span.warn", ", its rules were not the same when they were compared last") : null));
  const troubles = said.troubles.map((it) => h("li", h("span.bad", `${it.place}: ${it.why}`)));
  const more = said.troubles_omitted === 0 ? [] : [h("li", `and ${said.troubles_omitted} more`)];
  const age = watched.answered === null ? null : h("p.faint", `as of ${ago(now, watched.answered)} ago`);
  const resync = steers && known ? h("p.buttons", order("Compare all and send…", { command: "rules_resync" }, true)) : null;
  return [head, h(known ? "ul" : "ul.faint", directories, peers, troubles, more), conflicts(said.conflicts, steers && known), resync, age];
}

function conflicts(count, steers) {
  if (count === 0) return null;
  const rows = lost.conflicts.toReversed().map((it) => [it.place, it.by, new Date(it.millis).toLocaleString(), `${it.bytes} bytes`,
    h("span.buttons", steers ? [
      order("Take this one…", { command: "rules_restore", name: it.name, place: it.place }, true),
      order("Leave it…", { command: "rules_settle", name: it.name, place: it.place }, true),
    ] : [])]);
  return h("div",
    h("p.warn", `${count} ${count === 1 ? "version" : "versions"} lost when two nodes changed the same rule at once:`),
    lost.trouble === null ? null : h("p.bad", `They cannot be shown: ${lost.trouble}`),
    rows.length === 0 ? null : table(["Rule", "Changed on", "Kept since", "Size", ""], rows),
    lost.omitted === 0 ? null : h("p.faint", `${lost.omitted} older ones: rules-sync conflicts list`));
}

/** As the program itself judges it. */
function inSync(said) {
  const all = said.unsettled === 0 && said.troubles.length === 0
    && said.directories.every((it) => it.trouble === null && it.held === null && it.strays === 0)
    && said.peers.every((it) => it.reachable && it.owed === 0 && (it.compared === null || it.compared[1]));
  return all ? h("p", h("strong.good", "in sync")) : h("p", h("strong.bad", "NOT IN SYNC"));
}
