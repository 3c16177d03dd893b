// The API reference as a page of its own, at /docs.

import { Api } from "./api.js";
import { byId, el } from "./dom.js";
import { showReference } from "./reference.js";

const root = new URL(document.documentElement.dataset.root, document.baseURI);
const api = new Api(root, async () => null);
try {
  showReference(byId("reference"), await api.request("openapi.json"), root);
} catch (error) {
  byId("reference").replaceChildren(el("p", { class: "error", role: "alert", text: error.message }));
}
