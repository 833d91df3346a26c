// The service worker: shows what is pushed, though the page may be closed.
"use strict";

importScripts("store.js", "offers.js");

const STOP = {
  en: "No more of these",
  fr: "Ne plus en recevoir",
  de: "Keine weiteren",
  es: "No recibir más",
};
const stop = (lang) => STOP[(lang ?? "").split("-")[0]] ?? STOP.en;

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => event.waitUntil(arrive(event)));
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(follow(event));
});
self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(renew(event)));

async function arrive(event) {
  const offer = read(event.data);
  const until = Number(offer.expires_at) * 1000 || null;
  // It waited too long on its way: an offer that is over is shown to nobody.
  if (until !== null && until <= Date.now()) return;
  const shown = {
    body: offer.text,
    tag: offer.key, // a repeat takes the place of the first
    lang: offer.lang || "",
    dir: offer.dir || "auto",
    icon: "icon.png",
    badge: "badge.png",
    timestamp: Date.now(),
    data: {
      link: offer.link,
      receipt: offer.receipt,
      withdraw: offer.withdraw,
      expiresAt: until,
    },
    actions: offer.withdraw ? [{ action: "withdraw", title: stop(offer.lang) }] : [],
  };
  const title = offer.title || self.location.hostname;
  await inTurn(() => self.registration.showNotification(title, shown));
  for (const page of await self.clients.matchAll({ type: "window" })) page.postMessage({ offer });
  await report(offer.receipt, "delivered");
  await takeDownRead(self.registration);
}

/** Read what was pushed; anything that is no offer of ours is still told of, as text. */
function read(data) {
  try {
    const offer = data.json();
    if (typeof offer.key === "string" && typeof offer.text === "string") return offer;
  } catch {
    // Not JSON, or nothing at all: some senders only knock.
  }
  return { key: "other", text: data?.text().slice(0, 200) ?? "" };
}

async function follow(event) {
  const { link, receipt, withdraw } = event.notification.data ?? {};
  if (event.action === "withdraw") {
    if (mayOpen(withdraw)) await self.clients.openWindow(withdraw);
    return;
  }
  // First the window: a browser lets it open for a moment only after the click.
  await self.clients.openWindow(mayOpen(link) ? link : "./");
  await report(receipt, "clicked");
}

/** The browser has thrown the subscription away: leave the new one, and take the old one back. */
async function renew(event) {
  const old = event.oldSubscription;
  const answer = await fetch("/v1/push-key");
  if (!answer.ok) return;
  const { key } = await answer.json();
  const fresh = event.newSubscription ?? (await self.registration.pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: bytesOf(key),
  }));
  await leave(fresh);
  if (old) await ask("DELETE", "/v1/endpoints", { channel: "web-push", address: JSON.stringify(old) });
}
