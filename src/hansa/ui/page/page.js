// Keeps an open page new: hears that something has changed, gets the page again, and puts in what is other.
"use strict";

const main = document.querySelector("main");
const link = document.querySelector("#link");
const told = document.querySelector("#told");
const SPEAK = 10_000; // milliseconds between two sentences for who hears the page

let source = null;
let getting = false;
let again = false;
let spoken = -SPEAK;

function tellLink(words) {
  link.textContent = words;
  link.hidden = !words;
}

function tell(words) {
  if (performance.now() - spoken < SPEAK && !words.includes("the run is")) return;
  spoken = performance.now();
  told.textContent = words;
}

function listen() {
  if (!main.dataset.events || source) return;
  source = new EventSource(`${main.dataset.events}?after=${encodeURIComponent(main.dataset.version)}`);
  source.onopen = () => tellLink("");
  source.onerror = () => {
    tellLink("No connection: what is shown may be old. It goes on by itself.");
    if (source && source.readyState === EventSource.CLOSED) {
      rest();
      setTimeout(listen, 2000);
    }
  };
  source.onmessage = (event) => {
    const news = JSON.parse(event.data);
    if (news.away) return tellLink(news.away);
    tellLink("");
    tell(news.told);
    refresh();
  };
}

function rest() {
  if (source) source.close();
  source = null;
}

async function refresh() {
  again = getting;
  if (getting) return;
  getting = true;
  const begin = performance.now();
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.title = page.title;
      renew(main, page.querySelector("main"));
    }
  } catch {
    // the stream tells of it
  } finally {
    // at most half of the time goes into it
    setTimeout(() => {
      getting = false;
      if (again) refresh();
    }, performance.now() - begin);
  }
}

// What a person has opened, chosen, scrolled to or has the focus on stays: elements that are the same are kept.
function renew(old, now) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== now.data) old.data = now.data;
    return;
  }
  for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (name !== "open" && !now.hasAttribute(name)) old.removeAttribute(name);
  const kept = new Map([...old.children].filter(key).map((one) => [key(one), one]));
  let place = old.firstChild;
  for (const next of [...now.childNodes]) {
    const same = kept.get(key(next));
    if (same) {
      kept.delete(key(next));
      if (same === place) place = place.nextSibling;
      else old.insertBefore(same, place);
      renew(same, next);
    } else if (place && !key(place) && !key(next) && place.nodeName === next.nodeName) {
      const here = place;
      place = place.nextSibling;
      renew(here, next);
    } else old.insertBefore(next, place);
  }
  while (place) {
    const rest = place.nextSibling;
    place.remove();
    place = rest;
  }
}

function key(node) {
  return node.dataset && (node.dataset.key || node.dataset.plot);
}

document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen())); // a browser has few streams
addEventListener("pagehide", rest);
addEventListener("pageshow", listen);
listen();
