// The page: views, the key, the theme, and what each view is told.

import { Api } from "./api.js";
import { Comparison } from "./compare.js";
import { CopolymerView, ofKind } from "./copolymer.js";
import { CsvView } from "./csv_view.js";
import { byId, el } from "./dom.js";
import { Drawings } from "./drawing.js";
import { Finetuned } from "./finetuned.js";
import { showModel } from "./model.js";
import { showReference } from "./reference.js";
import { Screening } from "./screen.js";
import { SinglePolymer } from "./single.js";
import { ServiceState } from "./state.js";

const VIEWS = ["one", "copolymer", "compare", "csv", "screen", "finetuned", "model", "api"];
const THEMES = ["system", "light", "dark"];

function main() {
  const root = new URL(document.documentElement.dataset.root, document.baseURI);
  const api = new Api(root, askForKey);
  const drawings = new Drawings(api);
  const state = new ServiceState(api);
  const single = new SinglePolymer(api, drawings);
  const csv = new CsvView(api, drawings, state);
  const screening = new Screening(api, drawings, csv);
  const finetuned = new Finetuned(api);
  const copolymer = new CopolymerView(api, drawings);
  const comparison = new Comparison(api, drawings, () => single.answer?.smiles);
  const recolour = () => { single.draw(); copolymer.draw(); comparison.draw(); csv.recolour(); screening.recolour(); };

  let version = null;
  let isLearning = false;
  const learn = async () => {
    if (isLearning) return;
    isLearning = true;
    try {
      const model = await api.request("v1/model", { asks: false });
      const name = JSON.stringify(model);
      // Another model may answer after a restart.
      if (name !== version) {
        version = name;
        state.n_properties = model.properties.length;
        const ofRepeatUnits = ofKind(model, "homopolymer");
        single.setModel(ofRepeatUnits);
        comparison.setModel(ofRepeatUnits);
        csv.setModel(model);
        screening.setModel(model);
        finetuned.setModel();
        copolymer.setModel(ofKind(model, "copolymer"));
        showModel(model);
        state.refresh();
      }
    } catch {
      // The state says why, and brings this back here when it changes.
    } finally {
      isLearning = false;
    }
  };
  let wasAsked = false;
  state.addEventListener("changed", async ({ detail }) => {
    if (detail.name === "ready" || detail.name === "busy") learn();
    if (detail.name === "key" && !wasAsked) {
      wasAsked = true;
      await useKey(api, state, byId("state-text").textContent);
    }
  });
  byId("enter-key").addEventListener("click", () => useKey(api, state, byId("state-text").textContent));
  api.addEventListener("answered", () => { if (state.name === "key") state.refresh(); });
  showViews({ api: () => openReference(api, root), finetuned: () => finetuned.show() });
  chooseTheme(recolour);
  state.start();
}

/** Have the key entered and looked at by the service. */
async function useKey(api, state, message) {
  const key = await askForKey(message);
  if (key === null) return;
  api.key = key;
  await state.refresh();
}

/** Ask in a dialog; null if there is no answer. */
function askForKey(message) {
  const dialog = byId("key-dialog");
  byId("key-message").textContent = message;
  byId("key").value = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    const close = () => dialog.close("");
    byId("key-cancel").addEventListener("click", close, { once: true });
    dialog.addEventListener("close", () => {
      byId("key-cancel").removeEventListener("click", close);
      const key = byId("key").value.trim();
      byId("key").value = "";
      resolve(dialog.returnValue === "ok" && key ? key : null);
      dialog.returnValue = "";
    }, { once: true });
  });
}

/** Show the view that the address names; some have something to do when they are opened. */
function showViews(openers) {
  const show = () => {
    const wanted = location.hash.slice(1);
    if (wanted === "main") return; // the link that skips to the content
    const name = VIEWS.includes(wanted) ? wanted : "one";
    for (const view of VIEWS) byId(`view-${view}`).hidden = view !== name;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.getAttribute("href") === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const title = document.querySelector(`#view-${name} h1`).textContent;
    document.title = `${title} · PerioGT`;
    openers[name]?.();
  };
  window.addEventListener("hashchange", () => { show(); scrollTo(0, 0); });
  show();
}

async function openReference(api, root) {
  const area = byId("reference");
  if (area.childElementCount > 0 && !area.querySelector(".error")) return;
  try {
    showReference(area, await api.request("openapi.json"), root);
  } catch (error) {
    area.replaceChildren(el("p", { class: "error", role: "alert", text: error.message }));
  }
}

function chooseTheme(recolour) {
  const button = byId("theme");
  const current = () => document.documentElement.dataset.theme ?? "system";
  const name = () => { button.textContent = `Theme: ${current()}`; };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(current()) + 1) % THEMES.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try { localStorage.setItem("periogt-theme", next); } catch { /* kept for this visit alone */ }
    name();
    recolour();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  name();
}

main();
