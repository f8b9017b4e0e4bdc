// What an operator has done: asked twice, followed to its end.

import { h, show } from "./view.js";
import { heading, explain, milestone, verdict } from "./orders.js";

/** From a look at an order to the next one. */
const PACE = 250;
/** The daemon says every two seconds how it goes; whoever waits longer without an answer says so. */
const PATIENCE = 10_000;
/** For so long a node that does not answer is asked what has become of an order. */
const GIVE_UP = 60_000;

/** Who sits before this page, as the node knows him; null = nobody yet. */
let session = null;

export const maySteer = () => session?.right === "operator";

/** Asks the node who we are. It counts as a sign of life there. */
export async function learn() {
  const response = await fetch("/api/v1/session", { signal: AbortSignal.timeout(PATIENCE) });
  if (!response.ok) return;
  session = await response.json();
  const isOut = session.asks && session.user === null;
  document.body.classList.toggle("out", isOut);
  login.hidden = !isOut;
  // What is asked about or told there is not for strangers either.
  if (isOut && dialog.open) dialog.close();
  show("who", session.user === null ? [] : [`${session.user}, ${session.right} `, h("button.quiet", "Log out")]);
  if (isOut && document.activeElement === document.body) login.elements.name.focus();
}

/** The node has said no: nothing was done. Any other error says nothing about that. */
class Refused extends Error {}

async function send(method, path, body) {
  const headers = { "content-type": "application/json", "x-csrf-token": session?.csrf ?? "" };
  if (body?.key !== undefined) headers["idempotency-key"] = body.key;
  const text = body === undefined ? undefined : JSON.stringify(body.wish ?? body);
  const response = await fetch(path, { method, headers, body: text, signal: AbortSignal.timeout(PATIENCE + 10_000) });
  const document = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new Refused(document.detail);
  return document;
}

const login = document.getElementById("login");
login.addEventListener("submit", async (event) => {
  event.preventDefault();
  show("login-trouble", []);
  try {
    await send("POST", "/api/v1/session", { name: login.elements.name.value, password: login.elements.password.value });
    login.elements.password.value = "";
    await learn();
    document.dispatchEvent(new Event("in"));
  } catch (error) {
    show("login-trouble", [error.message]);
    login.elements.password.select();
  }
});

document.getElementById("who").addEventListener("click", async (event) => {
  if (event.target.nodeName !== "BUTTON") return;
  await send("DELETE", "/api/v1/session").catch(() => {});
  await learn();
});

// Whoever touches the page is there: not more than twice a minute is that told.
let told = 0;
for (const kind of ["pointerdown", "keydown"]) {
  document.addEventListener(kind, () => {
    if (session?.user === null || performance.now() - told < 30_000) return;
    told = performance.now();
    learn().catch(() => {});
  });
}

const dialog = document.getElementById("order");
const confirm = document.getElementById("order-confirm");
const progress = document.getElementById("order-progress");
/** What is asked about in the dialog. */
let asked = null;

/** Every button that orders something says what. */
document.getElementById("main").addEventListener("click", (event) => {
  const wish = event.target.closest("button[data-wish]")?.dataset.wish;
  if (wish !== undefined) begin(JSON.parse(wish));
});

async function begin(wish) {
  const { place, ...what } = wish;
  // The node knows a version by its name; whoever is asked knows it by its place.
  asked = { wish: what, key: key() };
  show("order-title", [heading(wish)]);
  show("order-about", [explain(wish)]);
  show("order-steps", []);
  show("order-answer", []);
  [progress.hidden, confirm.hidden, confirm.disabled] = [true, false, wish.command === "switchover"];
  dialog.showModal();
  if (wish.command !== "switchover") return;
  const about = asked;
  try {
    const plan = await send("POST", "/api/v1/commands?wait=8", { key: key(), wish: { ...wish, dry_run: true } });
    if (asked !== about) return;
    const { steps = [], obstacles = [], reason = null } = plan.answer ?? { reason: "the node did not say in time whether it can be done" };
    show("order-steps", steps.map((step) => h("li", step)));
    show("order-answer", [...obstacles, ...(reason === null ? [] : [reason])].map((text) => h("p.bad", `In the way: ${text}`)));
    confirm.disabled = obstacles.length > 0 || reason !== null;
    if (!confirm.disabled) confirm.focus();
  } catch (error) {
    if (asked === about) show("order-answer", [h("p.bad", error.message)]);
  }
}

confirm.addEventListener("click", async () => {
  const about = asked;
  [confirm.disabled, confirm.hidden, progress.hidden, progress.value] = [true, true, false, 0];
  // What would be done makes room for what is.
  for (const part of ["order-about", "order-steps", "order-answer"]) show(part, []);
  let order = null;
  for (let end = performance.now() + GIVE_UP; asked === about;) {
    try {
      // The same order again is the same order: what has become of it is told.
      order = order === null ? await send("POST", "/api/v1/commands", about) : await send("GET", `/api/v1/commands/${about.key}`);
      end = performance.now() + GIVE_UP;
      if (asked === about) draw(order, about.wish);
      if (order.answer !== null) return;
    } catch (error) {
      if (asked !== about) return;
      const isOver = error instanceof Refused || performance.now() > end;
      const doubt = error instanceof Refused && order === null ? "Nothing was done." : "Whether it is done is not known: look at the history.";
      show("order-answer", [h("p.bad", isOver ? `${error.message}. ${doubt}` : `The node does not answer (${error.message}); it is asked again.`)]);
      if (isOver) return;
    }
    await new Promise((later) => setTimeout(later, PACE));
  }
});

function draw(order, wish) {
  const { percent, awaits } = milestone(order, wish);
  progress.value = percent;
  show("order-steps", order.events.map((entry) => h("li", entry.text)));
  const wait = h("p", `${percent} %: ${awaits}`);
  show("order-answer", order.answer === null ? [wait] : [h(`p.${order.answer.answer === "done" ? "good" : "bad"}`, verdict(order.answer))]);
}

document.getElementById("order-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => { asked = null; });

/** A name of an order that nobody else has. */
function key() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
