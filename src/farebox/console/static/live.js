// Swaps server-rendered fragments as they change. The page is complete without this file.
"use strict";

const page = document.querySelector("[data-live]");
const connection = document.getElementById("connection");

function swap(id, html) {
  if (id === "title") {
    document.title = html + page.dataset.title;
    return;
  }
  const place = document.getElementById(id);
  if (!place || place.dataset.shown === html) return;
  const open = [...place.querySelectorAll("details[open][id]")].map((each) => each.id);
  const focused = place.contains(document.activeElement) ? document.activeElement.closest("[id]") : null;
  place.innerHTML = html;
  place.dataset.shown = html;
  for (const each of open) document.getElementById(each)?.setAttribute("open", "");
  if (focused && focused !== place) document.getElementById(focused.id)?.querySelector("summary, a, button")?.focus();
}

function say(text) {
  connection.textContent = text;
  connection.hidden = text === "";
  page.classList.toggle("paused", text !== "");
}

function follow() {
  const source = new EventSource(page.dataset.live);
  let shown = new Date();
  source.addEventListener("fragments", (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) swap(id, html);
    shown = new Date();
    say("");
  });
  source.addEventListener("error", () => {
    const since = shown.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    say(
      source.readyState === EventSource.CLOSED
        ? `Updates ended at ${since} (this computer's time). Reload the page to sign in again or to see why.`
        : `The console does not answer; these numbers are from ${since} (this computer's time). Trying again.`,
    );
  });
  window.addEventListener("pagehide", () => source.close());
  window.addEventListener("pageshow", (event) => { if (event.persisted) follow(); });
}

if (page) follow();

for (const form of document.querySelectorAll("[data-switch]")) {
  form.querySelector("[data-switch-go]")?.setAttribute("hidden", "");
  form.addEventListener("change", () => form.requestSubmit());
}
