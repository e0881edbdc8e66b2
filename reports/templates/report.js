"use strict";
(() => {
  // What is behind a case comes packed (reports/details.py), in the order of the cases that have it.  All of it is text:
  // nothing here makes markup from it.
  const made = (name, text, kind) => {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    if (kind) e.className = kind;
    return e;
  };
  const cell = (name, text, scope) => {
    const e = made(name, text);
    if (scope) e.scope = scope;
    return e;
  };
  const checks = (found) => {
    const same = found.filter(([, , observed, ok]) => ok && observed === null);
    const others = found.filter(([, , observed, ok]) => !ok || observed !== null);
    const parts = [];
    if (others.length) {
      const table = made("table", undefined, "checks");
      const head = table.createTHead().insertRow();
      for (const title of ["Field", "Expected", "Observed"]) head.append(cell("th", title, "col"));
      const body = table.createTBody();
      for (const [field, expected, observed, ok] of others) {
        const row = body.insertRow();
        const seen = cell("td", observed ?? expected);
        if (!ok) { row.className = "mismatch"; seen.append(" ", made("em", "differs")); }
        row.append(cell("th", field, "row"), cell("td", expected), seen);
      }
      parts.push(table);
    }
    if (same.length) {
      const p = made("p", undefined, "as-expected");
      same.forEach(([field, expected], n) => p.append(n ? "; " : "", made("b", field), ` ${expected}`));
      parts.push(p);
    }
    return parts;
  };
  const body = (detail, id) => {
    const div = made("div");
    if (detail.r) div.append(made("p", detail.r, "reason"));
    if (detail.k) div.append(...checks(detail.k));
    if (detail.e) div.append(made("pre", detail.e));
    if (detail.m) div.append(made("p", "What was expected and observed is in evidence.json.gz.", "note"));
    for (const number of detail.c ?? []) {
      div.append(made("p", document.getElementById(`cite-${number}`).textContent, "cite"));
    }
    const link = made("a", "Link to this case");
    link.href = `#${id}`;
    const last = made("p", undefined, "note");
    last.append(link);
    div.append(last);
    return div;
  };

  const packed = [...document.querySelectorAll("details[data-packed]")];
  let details = null;
  const unpack = () => {
    const bytes = Uint8Array.from(atob(document.getElementById("details").textContent), (c) => c.charCodeAt(0));
    const found = JSON.parse(new TextDecoder().decode(gunzip(bytes)));
    return new Map(found.map((detail, n) => [packed[n], detail]));
  };
  const fill = (e) => {
    if (!("packed" in e.dataset)) return;
    details ??= unpack();
    const detail = details.get(e);
    if (!detail) return;
    details.delete(e);
    e.append(body(detail, e.id));
  };
  for (const e of packed) if (e.open) fill(e);
  document.addEventListener("toggle", (event) => { if (event.target.open) fill(event.target); }, true);

  // On paper everything is open.
  let closed = [];
  addEventListener("beforeprint", () => {
    for (const e of packed) fill(e);
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const e of closed) e.open = true;
  });
  addEventListener("afterprint", () => { for (const e of closed) e.open = false; });

  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let e = target; e; e = e.parentElement) {
      if (e.tagName === "DETAILS") e.open = true;
      if (e.hidden) e.hidden = false; // a filter does not keep a link from its target
    }
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  if (location.hash) reveal();

  const wanted = (input) => input.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const form of document.querySelectorAll("form.filter")) {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
  }
  for (const form of document.querySelectorAll("form[data-rows]")) {
    const rows = [...document.getElementById(form.dataset.rows).rows].map((e) => ({ e, text: e.textContent.toLowerCase() }));
    form.addEventListener("input", () => {
      const words = wanted(form.querySelector("input"));
      let shown = 0;
      for (const row of rows) {
        row.e.hidden = !words.every((w) => row.text.includes(w));
        shown += !row.e.hidden;
      }
      form.querySelector("output").value = words.length ? `${shown} of ${rows.length}` : "";
    });
  }

  const bar = document.getElementById("filter");
  if (!bar) return;
  const words = bar.querySelector("input[type=search]");
  const boxes = [...bar.querySelectorAll("input[type=checkbox]")];
  const status = bar.querySelector("output");
  const groups = [...document.querySelectorAll("details.area, details.group")];
  let cases = null;
  const all = () => [...document.querySelectorAll("details.case")].map((e) => ({
    e, verdict: e.dataset.v, text: `${e.firstElementChild.textContent} ${e.closest("details.area").dataset.name}`.toLowerCase(),
  }));

  const apply = () => {
    cases ??= all();
    const asked = wanted(words);
    const verdicts = new Set(boxes.filter((b) => b.checked).map((b) => b.value));
    const active = asked.length > 0 || verdicts.size < boxes.length;
    let shown = 0;
    for (const c of cases) {
      const match = verdicts.has(c.verdict) && asked.every((w) => c.text.includes(w));
      c.e.hidden = !match;
      shown += match;
    }
    for (const g of groups) g.hidden = active && !g.querySelector("details.case:not([hidden])");
    if (asked.length) for (const g of groups) g.open = true;
    status.value = active ? `${shown} of ${cases.length} cases` : `${cases.length} cases`;
  };
  bar.addEventListener("input", apply);
})();
