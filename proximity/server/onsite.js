/* Shows a person's offers on a shop's own page, from their inbox, by its signed link:
 *
 *   <script src="https://offers.example/onsite.js" defer></script>
 *   <section data-proximity-inbox="https://offers.example/inbox/LINK" aria-label="Offers"></section>
 *
 * Texts are set as text, never as markup; nothing is kept or told elsewhere; styles are the page's
 * own, by the classes below. */
(() => {
  "use strict";
  const WORDS = {
    en: ["Good until", "More", "Redeem", "Code", "Not for me", "Redeemed", "That did not work."],
    fr: ["Valable jusqu'à", "En savoir plus", "Utiliser", "Code", "Pas pour moi", "Utilisée",
      "Cela n'a pas marché."],
    de: ["Gültig bis", "Mehr dazu", "Einlösen", "Code", "Nichts für mich", "Eingelöst",
      "Das hat nicht geklappt."],
    es: ["Válido hasta", "Más información", "Canjear", "Código", "No es para mí", "Canjeada",
      "No ha funcionado."],
  };
  const SEEN_MS = 1000;

  const make = (tag, kind, text) => {
    const made = document.createElement(tag);
    made.className = "px-" + kind;
    if (text) made.textContent = text;
    return made;
  };
  const onWeb = (link) => {
    try {
      return /^https?:$/.test(new URL(link).protocol) ? link : null;
    } catch {
      return null;
    }
  };

  const start = (root) => {
    const url = root.dataset.proximityInbox;
    const shown = new Map();
    const list = make("div", "list");
    const status = make("p", "status");
    status.setAttribute("role", "status");
    let etag = null;
    let timer = 0;
    root.append(list, status);

    const ask = (options) => fetch(url, {
      mode: "cors", credentials: "omit", referrerPolicy: "no-referrer", cache: "no-store",
      ...options,
    });
    const mark = async (key, did) => {
      const body = JSON.stringify({ key, did });
      const headers = { "Content-Type": "application/json" };
      const answer = await ask({ method: "POST", headers, body, keepalive: did === "read" });
      if (!answer.ok) throw new Error(String(answer.status));
      return (await answer.json()).items[0];
    };
    const timers = new Map();
    const watcher = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        clearTimeout(timers.get(target));
        if (isIntersecting) {
          timers.set(target, setTimeout(() => {
            watcher.unobserve(target);
            const { key } = target.dataset;
            mark(key, "read").then((now) => {
              target.classList.remove("px-new");
              // As it stands now, so that the next look has no cause to draw it again.
              shown.get(key).text = JSON.stringify(now);
            }).catch(() => watcher.observe(target));
          }, SEEN_MS));
        }
      }
    }, { threshold: 0.5 });

    const draw = (item) => {
      const known = [item.language, document.documentElement.lang].map((l) => l.slice(0, 2));
      const language = known.find((l) => l in WORDS) || "en";
      const said = WORDS[language];
      const box = make("article", "offer");
      box.dataset.key = item.key;
      box.lang = language;
      box.dir = "auto";
      const press = (kind, text, did) => {
        const button = make("button", kind, text);
        button.type = "button";
        button.addEventListener("click", async () => {
          button.disabled = true;
          status.textContent = "";
          try {
            const now = await mark(item.key, did);
            if (did === "dismissed") drop(item.key);
            else put(now);
            root.tabIndex = -1;
            root.focus();
          } catch {
            button.disabled = false;
            status.textContent = said[6];
          }
        });
        box.append(button);
      };
      const own = (tag, kind) => {
        if (!item[kind]) return;
        const made = make(tag, kind, item[kind]);
        made.lang = item.language;
        box.append(made);
      };
      own("h3", "title");
      own("p", "text");
      const until = new Date(item.expires_at);
      const time = make("time", "until", said[0] + " " + until.toLocaleString(language, {
        weekday: "short", hour: "2-digit", minute: "2-digit",
      }));
      time.dateTime = item.expires_at;
      box.append(time);
      own("small", "terms");
      if (item.link && onWeb(item.link)) {
        const link = make("a", "link", said[1]);
        link.href = item.link;
        link.rel = "noopener noreferrer";
        box.append(link);
      }
      if (item.redeemed_at) {
        box.append(make("p", "code", item.code ? said[3] + ": " + item.code : said[5]));
      } else if (item.redeem) press("redeem", said[2], "redeemed");
      press("dismiss", said[4], "dismissed");
      return box;
    };
    const drop = (key) => {
      const old = shown.get(key);
      if (old) watcher.unobserve(old.box), old.box.remove();
      shown.delete(key);
    };
    const put = (item) => {
      const text = JSON.stringify(item);
      const old = shown.get(item.key);
      if (old && old.text === text) return;
      const box = draw(item);
      if (old) old.box.replaceWith(box);
      else list.prepend(box);
      shown.set(item.key, { box, text });
      if (!item.read_at) {
        box.classList.add("px-new");
        watcher.observe(box);
      }
    };
    const look = async () => {
      let wait = 300;
      try {
        const answer = await ask({ headers: etag ? { "If-None-Match": etag } : {} });
        if (answer.status === 403 || answer.status === 404 || answer.status === 410) return;
        if (answer.status === 429) wait = Number(answer.headers.get("Retry-After")) || wait;
        if (answer.ok) {
          const page = await answer.json();
          etag = answer.headers.get("ETag");
          wait = page.poll_after_s;
          for (const key of [...shown.keys()]) if (!page.current.includes(key)) drop(key);
          page.items.forEach(put);
        }
      } catch {
        /* Offline: the next look tells. */
      }
      timer = setTimeout(look, wait * 1000);
    };
    document.addEventListener("visibilitychange", () => {
      clearTimeout(timer);
      if (!document.hidden) look();
    });
    look();
  };
  const begin = () => document.querySelectorAll("[data-proximity-inbox]").forEach(start);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
