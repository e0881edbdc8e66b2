"use strict";
(() => {
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let e = target; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  if (location.hash) reveal();

  const bar = document.getElementById("filter");
  if (!bar) return;
  const words = bar.querySelector("input[type=search]");
  const boxes = [...bar.querySelectorAll("input[type=checkbox]")];
  const status = bar.querySelector("output");
  const cases = [...document.querySelectorAll("details.case")].map((e) => ({
    e, verdict: e.dataset.v, text: e.firstElementChild.textContent.toLowerCase(),
  }));
  const groups = [...document.querySelectorAll("details.area, details.group")];

  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = new Set(boxes.filter((b) => b.checked).map((b) => b.value));
    const active = wanted.length > 0 || verdicts.size < boxes.length;
    let shown = 0;
    for (const c of cases) {
      const match = verdicts.has(c.verdict) && wanted.every((w) => c.text.includes(w));
      c.e.hidden = !match;
      shown += match;
    }
    for (const g of groups) g.hidden = active && !g.querySelector("details.case:not([hidden])");
    if (wanted.length) for (const g of groups) g.open = true;
    status.value = active ? `${shown} of ${cases.length} cases` : `${cases.length} cases`;
  };
  bar.addEventListener("input", apply);
  bar.addEventListener("submit", (event) => event.preventDefault());
  bar.hidden = false;
  apply();
})();
