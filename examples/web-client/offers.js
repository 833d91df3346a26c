// What is common to the page and its service worker: asking the engine, receipts, and taking down
// the notification of an offer that was opened elsewhere.
"use strict";

const MOST_RECEIPTS = 50;

/** Ask the engine as this phone; null where it has no token. Throws where there is no network. */
async function ask(method, path, body) {
  const token = await store.get("token");
  if (!token) return null;
  return fetch(path, {
    method,
    headers: {
      Authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    },
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
  });
}

/** Whether a link may be opened: https, or this very machine for trying things out. */
function mayOpen(link) {
  try {
    const url = new URL(link);
    return url.protocol === "https:" || url.origin === self.location.origin;
  } catch {
    return false;
  }
}

/** Tell what became of an offer, by the link that came with it; kept and sent later if need be. */
async function report(receipt, outcome) {
  if (!receipt || !mayOpen(receipt)) return;
  await store.change("receipts", (waiting) =>
    [...(waiting ?? []), { receipt, outcome }].slice(-MOST_RECEIPTS));
  await sendReceipts();
}

async function sendReceipts() {
  for (const one of (await store.get("receipts")) ?? []) {
    let answer;
    try {
      answer = await fetch(one.receipt, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ outcome: one.outcome }),
        credentials: "omit",
      });
    } catch {
      return; // no network: the next occasion finds them here
    }
    if (answer.status >= 500 || answer.status === 429) return;
    await store.change("receipts", (waiting) =>
      (waiting ?? []).filter((each) =>
        each.receipt !== one.receipt || each.outcome !== one.outcome));
  }
}

/**
 * Show notifications, or list them, one call at a time in the page and the worker together.
 *
 * Chromium strikes off its list what is being shown while it is listed: the notification stands
 * there, and nothing that lists them finds it again.
 */
const inTurn = (work) => navigator.locks.request("notifications", work);

/** Take down notifications of offers that were opened elsewhere, or are over. */
async function takeDownRead(registration) {
  for (const shown of await inTurn(() => registration.getNotifications())) {
    const { receipt, expiresAt } = shown.data ?? {};
    if (expiresAt && expiresAt <= Date.now()) {
      shown.close();
    } else if (receipt && mayOpen(receipt)) {
      try {
        const answer = await fetch(receipt, { cache: "no-store", credentials: "omit" });
        if (answer.status === 410 || (answer.ok && !(await answer.json()).news)) shown.close();
      } catch {
        return; // no network: it stays until there is
      }
    }
  }
}

/** Leave this phone's address with the engine; gives what it answered. */
async function leave(subscription, agreed = []) {
  return ask("POST", "/v1/endpoints", {
    channel: "web-push",
    address: JSON.stringify(subscription),
    origin: self.location.origin,
    language: self.navigator.language.slice(0, 35),
    agreed,
  });
}

/** A base64url key as browsers want it. */
function bytesOf(text) {
  const padded = text.replace(/-/g, "+").replace(/_/g, "/").padEnd(Math.ceil(text.length / 4) * 4, "=");
  return Uint8Array.from(atob(padded), (character) => character.charCodeAt(0));
}
