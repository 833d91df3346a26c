// The page: shows what it is good for, asks, and tells where the phone is while it is open.
// The browser is asked for nothing before somebody has pressed a button that says so.
"use strict";

const PURPOSE = "marketing";
const LOCATION = "location-precise";
const SEND_EVERY_MS = 5000; // positions come each second while walking; a shop needs no more
const STILL_EVERY_MS = 30000; // who stands still is told of too, or a visit would seem over
const MOST_WAITING = 500; // positions kept while there is no connection: some forty minutes
const LOOK_EVERY_MS = 60000;

const at = (id) => document.getElementById(id);
const state = { registration: null, watch: null, waiting: [], sentAt: 0, last: null, shown: {} };

// Who this is ------------------------------------------------------------------------------------

/** Take the token out of a link's fragment, which no server ever sees. */
async function takeLink(link) {
  const told = new URLSearchParams(new URL(link, location.href).hash.slice(1));
  const token = told.get("token");
  const subject = told.get("subject");
  if (!token || !subject) return false;
  const before = await store.get("subject");
  if (before !== undefined && before !== subject) await forget();
  await store.set("token", token);
  await store.set("subject", subject);
  return true;
}

/** This phone speaks for somebody else from now on: what was agreed to was the other's. Nothing is
 * told of where it is, and nothing meant for the other arrives, until a button is pressed anew. */
async function forget() {
  stopWatching();
  state.waiting = [];
  state.shown = {};
  for (const name of ["messages", "location", "person", "address"]) await store.set(name, undefined);
  try {
    const registration = await navigator.serviceWorker?.getRegistration();
    await (await registration?.pushManager?.getSubscription())?.unsubscribe();
  } catch {
    // No subscription that could be ended: then none reaches this phone.
  }
}

function onHomeScreenOnly() {
  return /iPhone|iPad/.test(navigator.userAgent) && !navigator.standalone;
}

// Asking -----------------------------------------------------------------------------------------

/** Tell the engine how a question was answered; what it keeps of that is its own affair. */
async function tell(purpose, answer, more = {}) {
  try {
    await ask("POST", "/v1/optin", { purpose, answer, source: location.origin, ...more });
  } catch {
    say(words.failed);
  }
}

/** Show a question, and note once that it was shown. */
async function show(card, purpose) {
  at(card).hidden = false;
  state.shown[purpose] ??= crypto.randomUUID();
  await tell(purpose, "shown", { id: state.shown[purpose] });
}

async function answerMessages(answer) {
  if (answer !== "accepted") {
    await store.set("messages", answer);
    await tell(PURPOSE, answer, { channel: "web-push" });
    return look();
  }
  // The one place where the browser's own question is asked, straight from the press of a button.
  const permission = await Notification.requestPermission();
  if (permission !== "granted") {
    const said = permission === "denied" ? "declined" : "later";
    await store.set("messages", said);
    await tell(PURPOSE, said, { channel: "web-push" });
    return look();
  }
  const answered = await subscribe([
    { purpose: PURPOSE, shown: shown(words.messagesText, words.messagesBenefit) },
  ]);
  if (answered) {
    await store.set("messages", "accepted");
    // Of whoever had agreed to nothing yet it was not noted that they were asked; now it may be.
    await tell(PURPOSE, "shown", { id: state.shown[PURPOSE] ?? crypto.randomUUID() });
  }
  return look();
}

async function answerLocation(answer) {
  if (answer !== "accepted") {
    await store.set("location", answer);
    await tell(LOCATION, answer);
    return look();
  }
  await tell(LOCATION, "accepted", {
    method: "browser",
    precision: "exact",
    shown: shown(words.locationText, words.locationBenefit),
  });
  await store.set("location", "accepted");
  return look();
}

// Messages ---------------------------------------------------------------------------------------

/** Subscribe this browser and leave its address; true where the engine keeps it. */
async function subscribe(agreed = []) {
  try {
    const answer = await fetch("/v1/push-key");
    if (!answer.ok) throw new Error(`push-key ${answer.status}`);
    const { key } = await answer.json();
    const subscription = await state.registration.pushManager.subscribe({
      userVisibleOnly: true,
      applicationServerKey: bytesOf(key),
    });
    const left = await leave(subscription, agreed);
    if (left.status === 401) {
      say(words.revoked);
      return false;
    }
    if (!left.ok) throw new Error(`endpoints ${left.status}`);
    const { kept, person } = await left.json();
    await store.set("person", person);
    await store.set("address", JSON.stringify(subscription));
    return kept;
  } catch (problem) {
    console.warn("not subscribed:", problem);
    say(words.failed);
    return false;
  }
}

async function stopMessages() {
  const address = await store.get("address");
  const subscription = await state.registration.pushManager.getSubscription();
  // Ours first: what the browser forgets, we must not go on writing to.
  try {
    const answer = await ask("DELETE", "/v1/endpoints", { channel: "web-push", address });
    if (!answer.ok) throw new Error(`endpoints ${answer.status}`);
    await subscription?.unsubscribe();
    await store.set("messages", "declined");
  } catch {
    say(words.failed);
  }
  return look();
}

// Position ---------------------------------------------------------------------------------------

function startWatching() {
  if (state.watch !== null) return;
  const options = { enableHighAccuracy: true, maximumAge: 0, timeout: 60000 };
  state.watch = navigator.geolocation.watchPosition(take, refused, options);
  state.still = setInterval(() => {
    if (Date.now() - (state.last?.timestamp ?? 0) >= STILL_EVERY_MS) {
      navigator.geolocation.getCurrentPosition(take, refused, options);
    }
  }, STILL_EVERY_MS);
}

function stopWatching() {
  if (state.watch !== null) navigator.geolocation.clearWatch(state.watch);
  clearInterval(state.still);
  state.watch = null;
}

async function take(position) {
  const { coords, timestamp } = position;
  if (state.last && timestamp - state.last.timestamp < SEND_EVERY_MS) return;
  state.last = position;
  const fix = {
    type: "fix",
    id: crypto.randomUUID(),
    subject: await store.get("subject"),
    at: timestamp / 1000,
    lon: coords.longitude,
    lat: coords.latitude,
    accuracy_m: coords.accuracy,
  };
  if (coords.speed !== null) fix.speed_mps = coords.speed;
  if (coords.heading !== null && !Number.isNaN(coords.heading)) fix.course_deg = coords.heading;
  state.waiting = [...state.waiting, fix].slice(-MOST_WAITING);
  await send();
}

/** Send what waits; what was not acknowledged stays, under the same ids. */
async function send() {
  const batch = state.waiting;
  if (!batch.length) return;
  try {
    const answer = await ask("POST", "/v1/fixes", batch);
    if (answer.status === 401) {
      stopWatching();
      say(words.revoked);
      return;
    }
    if (answer.status >= 500 || answer.status === 429) throw new Error(`fixes ${answer.status}`);
    state.waiting = state.waiting.filter((one) => !batch.includes(one));
    const time = new Date(batch.at(-1).at * 1000).toLocaleTimeString(language, { timeStyle: "short" });
    at("location-state").textContent = words.sent(time, Math.ceil(batch.at(-1).accuracy_m));
  } catch {
    at("location-state").textContent = words.unsent;
  }
}

async function refused(problem) {
  if (problem.code !== problem.PERMISSION_DENIED) return; // no signal now, perhaps later
  stopWatching();
  await store.set("location", "declined");
  await tell(LOCATION, "declined");
  at("location-state").textContent = words.blocked;
}

async function stopLocation() {
  stopWatching();
  state.waiting = [];
  const person = await store.get("person");
  try {
    const query = new URLSearchParams({ person, purpose: LOCATION });
    const answer = await ask("DELETE", `/v1/consents?${query}`);
    if (!answer.ok) throw new Error(`consents ${answer.status}`);
    await store.set("location", "declined");
  } catch {
    say(words.failed);
  }
  return look();
}

// The page itself --------------------------------------------------------------------------------

function say(text) {
  at("said").textContent = text;
}

function write() {
  document.documentElement.lang = language;
  document.title = words.title;
  for (const one of document.querySelectorAll("[data-words]")) {
    one.textContent = words[one.dataset.words];
  }
  at("messages-text").textContent = words.messagesText;
  at("location-text").textContent = words.locationText;
}

/** Show what stands now: one question at a time, the next when the first is answered. */
async function look() {
  const known = Boolean(await store.get("token"));
  const messages = await store.get("messages");
  const place = await store.get("location");
  const able = "PushManager" in self && "Notification" in self && state.registration !== null;
  const blocked = able && Notification.permission === "denied";
  const on = messages === "accepted" && able && Notification.permission === "granted";
  for (const card of ["unknown", "ask-messages", "ask-location", "state"]) at(card).hidden = true;
  at("sample").hidden = on;
  if (!known) {
    at("unknown").hidden = false;
    return;
  }
  if (messages === undefined && able && !blocked) {
    await show("ask-messages", PURPOSE);
    return;
  }
  const asking = on && place === undefined;
  if (asking) await show("ask-location", LOCATION);
  at("state").hidden = false;
  at("messages-state").textContent = !able ? words.unable : blocked ? words.blocked : on ? words.on : words.off;
  lever("messages-switch", words.messages, on, able && !blocked);
  const watching = on && place === "accepted";
  at("location-state").textContent = watching ? words.waiting : words.off;
  lever("location-switch", words.location, watching, on && !asking);
  if (watching) startWatching();
  else stopWatching();
}

function lever(id, what, on, able) {
  const button = at(id);
  button.hidden = !able;
  button.textContent = on ? words.turnOff : words.turnOn;
  button.setAttribute("aria-label", `${what}: ${button.textContent}`);
}

function arrived(offer) {
  at("arrived").hidden = false;
  const item = document.createElement("li");
  if (offer.title) {
    const title = document.createElement("h3");
    title.textContent = offer.title;
    item.append(title);
  }
  const text = document.createElement("p");
  text.textContent = offer.text; // as text: what a place is called must never become markup
  text.lang = offer.lang ?? "";
  text.dir = offer.dir ?? "auto";
  item.append(text);
  if (mayOpen(offer.link)) {
    const link = document.createElement("a");
    link.href = offer.link;
    link.textContent = words.open;
    link.rel = "noreferrer";
    item.append(link);
  }
  item.dataset.key = offer.key;
  document.querySelector(`#offers [data-key="${CSS.escape(offer.key)}"]`)?.remove();
  at("offers").prepend(item);
}

async function pressed(button, work) {
  button.disabled = true;
  say("");
  try {
    await work();
  } finally {
    button.disabled = false;
  }
}

function listen() {
  for (const [card, work] of [["ask-messages", answerMessages], ["ask-location", answerLocation]]) {
    for (const button of at(card).querySelectorAll("[data-answer]")) {
      button.addEventListener("click", () => pressed(button, () => work(button.dataset.answer)));
    }
  }
  at("messages-switch").addEventListener("click", (event) => pressed(event.target, async () => {
    const on = (await store.get("messages")) === "accepted" && Notification.permission === "granted";
    await (on ? stopMessages() : show("ask-messages", PURPOSE));
  }));
  at("location-switch").addEventListener("click", (event) => pressed(event.target, async () => {
    const on = (await store.get("location")) === "accepted";
    await (on ? stopLocation() : show("ask-location", LOCATION));
  }));
  at("paste").addEventListener("submit", async (event) => {
    event.preventDefault();
    let taken = false;
    try {
      taken = await takeLink(at("link").value);
    } catch {
      // not even a link
    }
    if (taken) await look();
    else say(words.linkBad);
  });
  navigator.serviceWorker?.addEventListener("message", (event) => {
    if (event.data?.offer) arrived(event.data.offer);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) freshen(); });
  addEventListener("online", () => { send(); freshen(); });
  addEventListener("hashchange", async () => { if (await takeOwnLink()) await look(); });
}

async function freshen() {
  await sendReceipts();
  if (state.registration) await takeDownRead(state.registration);
}

/** Take the link that the page was opened with, and put the token out of sight. */
async function takeOwnLink() {
  const taken = await takeLink(location.href);
  // On an iPhone the home screen's copy starts from this very address and has a store of its own.
  if (taken && !onHomeScreenOnly()) history.replaceState(null, "", location.pathname);
  return taken;
}

async function start() {
  write();
  listen();
  await takeOwnLink();
  if ("serviceWorker" in navigator) {
    state.registration = await navigator.serviceWorker.register("sw.js").catch(() => null);
    if (state.registration) await navigator.serviceWorker.ready;
  }
  await look();
  const answered = await store.get("messages");
  if (answered === "accepted" && self.Notification?.permission === "granted") {
    await subscribe(); // browsers change their subscriptions now and then, and say so to nobody
  }
  await freshen();
  setInterval(() => { if (!document.hidden) freshen(); }, LOOK_EVERY_MS);
}

start();
