"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [HOST, VERDICT, SUMMARY, SYSTEM, BIOS, MICROCODE, KERNEL, BACKEND, PROOF, STARTED, CAUSES, NOTES, REPORT] = data.fields.keys();
const PAGE = 100;
const text = n => data.strings[n];
const rows = data.rows;
const section = document.getElementById("hosts"), body = section.querySelector("tbody"), form = section.querySelector("form");
const about = section.querySelector("output"), [back, on] = section.querySelectorAll(".pages button");
const sorters = [...section.querySelectorAll("thead button")];
const collator = new Intl.Collator("en", { numeric: true });
const order = data.verdicts;
let shown = rows, page = 0, sorted = { field: VERDICT, down: false }, exact = {};

// What a row is searched by; made once, when somebody searches.
let words;
const searched = row => [row[HOST], ...[VERDICT, SUMMARY, SYSTEM, BIOS, MICROCODE, KERNEL, BACKEND, PROOF].map(f => text(row[f])), ...row[NOTES].map(text)].join("\n").toLowerCase();

function value(row, field) {
  return field === HOST ? row[HOST] : text(row[field]);
}

function element(name, content, className) {
  const made = document.createElement(name);
  if (content !== undefined) made.textContent = content;
  if (className) made.className = className;
  return made;
}

function line(row) {
  const made = element("tr"), name = element("th");
  name.scope = "row";
  if (row[REPORT]) {
    const link = element("a", row[HOST]);
    link.href = row[REPORT];
    name.append(link);
  } else {
    name.append(row[HOST]);
  }
  const verdict = element("td"), what = element("td", text(row[SUMMARY]), "what");
  verdict.append(element("span", text(row[VERDICT]), "badge " + data.tones[text(row[VERDICT])]));
  for (const note of row[NOTES]) what.append(element("div", text(note), "note"));
  made.append(name, verdict, what, ...[SYSTEM, BIOS, MICROCODE, KERNEL].map(field => element("td", text(row[field]))));
  made.append(element("td", [text(row[BACKEND]), text(row[PROOF])].filter(Boolean).join(", ")), element("td", text(row[STARTED])));
  return made;
}

function draw() {
  const last = Math.max(Math.ceil(shown.length / PAGE) - 1, 0);
  page = Math.min(Math.max(page, 0), last);
  const from = page * PAGE;
  body.replaceChildren(...shown.slice(from, from + PAGE).map(line));
  const all = shown.length === rows.length ? "" : ` that match; ${rows.length} in all`;
  about.value = shown.length ? `Hosts ${from + 1} to ${Math.min(from + PAGE, shown.length)} of ${shown.length}${all}` : `No host matches; ${rows.length} in all`;
  back.disabled = page === 0;
  on.disabled = page === last;
}

function apply() {
  const words_ = form.q.value.toLowerCase().split(/\s+/).filter(Boolean), verdict = form.verdict.value, cause = form.cause.value;
  if (words_.length && !words) words = new Map(rows.map(row => [row, searched(row)]));
  shown = rows.filter(row =>
    (!verdict || text(row[VERDICT]) === verdict) && (cause === "" || row[CAUSES].includes(Number(cause))) &&
    Object.entries(exact).every(([field, wanted]) => text(row[PROOF]) && value(row, data.fields.indexOf(field)) === wanted) &&
    words_.every(word => words.get(row).includes(word)));
  const { field, down } = sorted, sign = down ? -1 : 1;
  const compare = field === VERDICT ? (a, b) => order.indexOf(text(a[VERDICT])) - order.indexOf(text(b[VERDICT])) : (a, b) => collator.compare(value(a, field), value(b, field));
  shown = shown.slice().sort((a, b) => sign * compare(a, b) || collator.compare(a[HOST], b[HOST]));
  const only = section.querySelector(".only");
  only.hidden = !Object.keys(exact).length;
  only.textContent = "Only " + Object.entries(exact).map(([field, wanted]) => `${field}: ${wanted || "(could not tell)"}`).join(", ");
  page = 0;
  draw();
}

function address() {
  const asked = new URLSearchParams(exact);
  for (const name of ["q", "verdict", "cause"]) if (form[name].value !== "") asked.set(name, form[name].value);
  history.replaceState(null, "", asked.size ? `#hosts?${asked}` : "#hosts");
}

// Links such as #hosts?cause=3 choose hosts, and can be sent to somebody.
function follow() {
  const [place, query = ""] = location.hash.slice(1).split("?");
  if (place !== "hosts") return;
  const asked = new URLSearchParams(query);
  for (const name of ["q", "verdict", "cause"]) {
    form[name].value = asked.get(name) ?? "";
    asked.delete(name);
  }
  exact = Object.fromEntries([...asked].filter(([field]) => data.fields.includes(field)));
  apply();
  section.scrollIntoView();
}

form.addEventListener("input", () => { apply(); address(); });
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => { exact = {}; apply(); address(); }));
back.addEventListener("click", () => { page--; draw(); });
on.addEventListener("click", () => { page++; draw(); });
for (const button of sorters) {
  button.addEventListener("click", () => {
    const field = data.fields.indexOf(button.value);
    sorted = { field, down: sorted.field === field && !sorted.down };
    for (const other of sorters) other.closest("th").removeAttribute("aria-sort");
    button.closest("th").setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    apply();
  });
}
window.addEventListener("hashchange", follow);

// On paper are all hosts that were chosen, and everything is open.
let closed = [];
window.addEventListener("beforeprint", () => {
  body.replaceChildren(...shown.map(line));
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const part of closed) part.open = true;
});
window.addEventListener("afterprint", () => {
  draw();
  for (const part of closed) part.open = false;
});
for (const part of section.querySelectorAll("[hidden]:not(.only)")) part.hidden = false;
apply();
follow();
