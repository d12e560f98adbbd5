// Looks again every few seconds. Without script the page does so by itself, as a whole.
"use strict";
const live = document.getElementById("live");
const PAUSE_MS = 5000;

async function look() {
  if (document.hidden) return;
  const reply = await fetch(live.dataset.source, { credentials: "same-origin" });
  if (reply.redirected) {
    // What was asked for is granted; or there is nothing any more, and the page says so.
    location.assign(reply.url);
    return;
  }
  if (!reply.ok) return;
  const text = await reply.text();
  const found = new DOMParser().parseFromString(text, "text/html").getElementById("findings");
  const shown = document.getElementById("findings");
  // Only what is new is put in place, so that nobody is read the same again.
  if (found && shown && found.textContent !== shown.textContent) shown.replaceWith(found);
}

if (live) setInterval(() => look().catch(() => {}), PAUSE_MS);
