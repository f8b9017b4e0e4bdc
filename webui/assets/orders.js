// What can be ordered, in words, and how far it is.

const NAMES = { restart: "Restart", clear: "Clear the failures of", start: "Start", stop: "Stop" };

export function heading(wish) {
  switch (wish.command) {
    case "switchover": return `Switch ${wish.group} over to ${wish.to}?`;
    case "offline": return "Take this node out?";
    case "online": return "Let this node take part again?";
    case "maintenance": return wish.on ? "Switch automatic actions off?" : "Switch automatic actions on again?";
    case "rules_resync": return "Compare all rules and send what differs?";
    case "rules_restore": return `Take this version of ${wish.place}?`;
    case "rules_settle": return `Leave ${wish.place} as it is?`;
    default: return `${NAMES[wish.verb]} ${wish.resource}?`;
  }
}

export function explain(wish) {
  switch (wish.command) {
    case "switchover": return "The ACTIVE node brings its resources down, the other one brings them up. If that fails, the old one takes them back. It would:";
    case "offline": return "It hands over what it has and takes nothing over, until it is let in again.";
    case "online": return "It can be ACTIVE again. A hold for too many takeovers is lifted too.";
    case "maintenance": return wish.on
      ? "Services run on, but nothing is moved, restarted or taken over on this node, whatever happens."
      : "Failures are answered again: restart, switch over, take over.";
    case "rules_resync": return "Every rule is read again and compared with the other nodes; they get what they lack. What is up to date stays untouched.";
    case "rules_restore": return "The version that lost goes back in its place on every node. What is there now is kept in the trash.";
    case "rules_settle": return "What won stays, and the version that lost goes to the trash.";
    default: return { restart: "It is stopped and started; its group stays ACTIVE here.", start: "It is started where its group is ACTIVE.",
      stop: "It stays stopped until somebody starts it; its group stays ACTIVE here.", clear: "Its failures are forgotten; a group in FAULT goes back to STANDBY." }[wish.verb];
  }
}

/** How far it is when this has happened, and what is awaited then. */
function step({ kind, to, role, step, change }) {
  if (kind === "switchover" && step.step === "rolled_back") return [90, "the old node to have everything back"];
  if (kind === "switchover") return step.step === "released" ? [50, "the other node to start everything"] : [5, "the resources to be stopped"];
  const now = kind === "role_changed" ? to : kind === "peer_role" ? role : null;
  if (now === "deactivating") return [15, "the resources to be stopped"];
  if (now === "activating") return [65, "the resources to be started"];
  if (now === "active") return [95, "the last word"];
  return kind === "resource" && change?.change === "stopped" ? [35, "the other resources to be stopped"] : [2, "what comes next"];
}

export function milestone(order, wish) {
  if (order.answer !== null) return { percent: 100, awaits: "" };
  if (order.progress !== null) {
    const { done, total, text } = order.progress;
    return { percent: total === 0 ? 0 : Math.floor((done / total) * 100), awaits: `${text}, ${done} of ${total}` };
  }
  // Of other groups nothing is awaited.
  const isOurs = ({ text }) => wish.group === undefined || text.startsWith(`${wish.group}:`) || text.startsWith(`${wish.group}/`);
  const steps = order.events.filter(isOurs).map((entry) => step(entry.event.fact));
  const [percent, awaits] = steps.reduce((far, it) => (it[0] > far[0] ? it : far), [1, "the node to begin"]);
  return { percent, awaits: `waiting for ${awaits}` };
}

export function verdict(answer) {
  switch (answer.answer) {
    case "done": return `Done: ${answer.text}`;
    case "refused": return `Refused, nothing was done: ${answer.reason}`;
    case "failed": return `Failed: ${answer.reason}`;
    default: return "Nothing was done.";
  }
}
