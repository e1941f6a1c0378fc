// The streams page stays as it is while it is refreshed: focus, selection, scroll and what is unfolded are the reader's.
(() => {
  "use strict";
  const STALE_S = 15; // three refreshes that did not come

  // Make an element like a fresh one by changing only what differs.
  const patch = (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    const unfolds = (name) => old.localName === "details" && name === "open";
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !unfolds(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    patchChildren(old, fresh);
  };

  // What has an id stays where it is as long as the server sends it; anything else may come and go around it.
  const patchChildren = (old, fresh) => {
    const ids = new Set([...fresh.children].map((child) => child.id).filter(Boolean));
    for (const child of [...old.children]) if (child.id && !ids.has(child.id)) child.remove();
    let at = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      const same = next.id ? [...old.children].find((child) => child.id === next.id) : null;
      if (same) {
        while (at && at !== same && !at.id) at = drop(at);
        if (at !== same) old.insertBefore(same, at);
        patch(same, next);
        at = same.nextSibling;
      } else if (at && !at.id && !next.id && at.nodeName === next.nodeName) {
        patch(at, next);
        at = at.nextSibling;
      } else {
        old.insertBefore(next, at);
      }
    }
    while (at) at = drop(at);
  };

  const drop = (node) => {
    const next = node.nextSibling;
    node.remove();
    return next;
  };

  htmx.defineExtension("stream-parts", {
    handleSwap: (style, target, fragment) => {
      if (style !== "stream-parts") return false;
      patchChildren(target, fragment);
      return [];
    },
  });

  const cards = document.getElementById("stream-cards");
  const age = document.getElementById("streams-age");
  const unheard = document.getElementById("streams-unheard");
  let heard = Date.now();
  let looked = heard; // since when somebody can see the page

  const tell = () => {
    const now = Date.now();
    const stale = !document.hidden && now - Math.max(heard, looked) > 1000 * STALE_S;
    age.hidden = !stale;
    age.querySelector("span").textContent = Math.round((now - heard) / 1000).toLocaleString("en");
    const words = stale ? "The server does not answer. What stands here may be out of date." : "";
    if (unheard.textContent !== words) unheard.textContent = words;
  };

  cards.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault();
  });
  cards.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) heard = Date.now();
    tell();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    looked = Date.now();
    htmx.trigger(cards, "refresh");
  });
  setInterval(tell, 1000);
})();
