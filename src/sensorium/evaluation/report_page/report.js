// Filters over the samples. The page is whole without them: they appear only where scripts run.
"use strict";
(() => {
  const bar = document.querySelector("#filters");
  const cards = [...document.querySelectorAll(".card")];
  if (!bar || !cards.length) return;
  const words = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));
  const count = bar.querySelector("output");
  const asks = (name) => bar.elements[name]?.value ?? "";

  const keeps = (card) =>
    (!asks("verdict") || card.dataset.verdicts.split(" ").includes(asks("verdict"))) &&
    (!asks("task") || card.dataset.task === asks("task")) &&
    (!asks("differ") || card.dataset.differ === asks("differ")) &&
    words.get(card).includes(asks("search").trim().toLowerCase());

  const filter = () => {
    let shown = 0;
    for (const card of cards) {
      card.hidden = !keeps(card);
      shown += !card.hidden;
    }
    for (const part of document.querySelectorAll(".samples")) {
      part.querySelector(".none").hidden = part.querySelector(".card:not([hidden])") !== null;
    }
    count.textContent = `${shown} of ${cards.length} shown`;
  };

  bar.hidden = false;
  bar.addEventListener("input", filter);
  bar.addEventListener("submit", (event) => event.preventDefault());
  bar.addEventListener("reset", () => setTimeout(filter));
  filter();
})();
