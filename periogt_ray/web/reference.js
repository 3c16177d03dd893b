// The OpenAPI document as a page to read.

import { el } from "./dom.js";

export function showReference(area, openapi, root) {
  const operations = Object.entries(openapi.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })));
  const link = el("a", { href: new URL("openapi.json", root).href, text: "openapi.json" });
  area.replaceChildren(
    ...openapi.info.description.trim().split(/\n\s*\n/).map((text) => el("p", { text: text.replaceAll("`", "") })),
    el("p", { class: "hint" }, `Version ${openapi.info.version}. The document behind this page is `, link,
      openapi.security ? "; it, too, needs the key, in the header X-Api-Key." : "."),
    ...operations.map((one) => section(one, openapi, root)));
}

function section({ path, method, operation }, openapi, root) {
  const content = operation.requestBody?.content?.["application/json"];
  const schema = resolved(content?.schema, openapi);
  const fields = Object.entries(schema?.properties ?? {}).map(([name, field]) => [name, field, schema.required?.includes(name)]);
  const queries = (operation.parameters ?? []).map((one) => [one.name, { ...one.schema, description: one.description ?? one.schema.description }, one.required]);
  const examples = Object.values(content?.examples ?? {}).map(({ summary, value }) => example(summary, value, path, root));
  const answer = resolved(operation.responses["200"]?.content?.["application/json"]?.schema, openapi);
  const failures = Object.entries(operation.responses).filter(([status]) => status !== "200");
  return el("section", { class: "card op" },
    el("h2", {}, el("span", { class: "method", text: method }), el("span", { text: path })),
    el("p", { text: (operation.description ?? operation.summary).replaceAll("`", "") }),
    ...table("Asked", [...queries, ...fields], openapi),
    ...table("Answered", Object.entries(answer?.properties ?? {}).map(([name, field]) => [name, field, true]), openapi),
    ...examples,
    el("details", {}, el("summary", { text: "Failures" }),
      el("ul", {}, ...failures.map(([status, { description }]) => el("li", { text: `${status} ${description.replaceAll("`", "")}` })))));
}

function example(summary, value, path, root) {
  const command = `curl '${new URL(path.slice(1), root).href}' -H 'Content-Type: application/json' -d '${JSON.stringify(value)}'`;
  return el("div", {}, el("p", { class: "hint", text: `Example: ${summary}` }), el("pre", { tabindex: "0", text: command }));
}

function table(title, fields, openapi) {
  if (fields.length === 0) return [];
  const rows = fields.map(([name, field, isRequired]) => el("tr", {},
    el("th", { scope: "row", class: "mono", text: name }), el("td", { text: kind(field, openapi) }),
    el("td", { text: [isRequired ? "" : "optional", field.description ?? resolved(field, openapi).description ?? ""].filter(Boolean).join("; ").replaceAll("`", "") })));
  return [el("table", {}, el("caption", { class: "visually-hidden", text: title }),
    el("thead", {}, el("tr", {}, el("th", { scope: "col", text: title }), el("th", { scope: "col", text: "Type" }), el("th", { scope: "col", text: "Meaning" }))),
    el("tbody", {}, ...rows))];
}

function resolved(schema, openapi) {
  if (!schema?.$ref) return schema;
  return schema.$ref.slice(2).split("/").reduce((at, name) => at[name], openapi);
}

/** Name a type; objects by the names of their fields. */
function kind(schema, openapi) {
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf) return schema.anyOf.map((one) => kind(one, openapi)).join(" or ");
  if (schema.$ref) {
    const { properties } = resolved(schema, openapi);
    return properties ? `{${Object.keys(properties).join(", ")}}` : schema.$ref.split("/").at(-1);
  }
  if (schema.type === "array") return `list of ${kind(schema.items ?? {}, openapi)}`;
  const isBounded = schema.minLength !== undefined && schema.maxLength !== undefined;
  return `${schema.type ?? "any"}${isBounded ? ` (${schema.minLength} to ${schema.maxLength} characters)` : ""}`;
}
