"use strict";
// Only comfort: everything can be read and every link works without it.
(() => {
  const events = [...document.querySelectorAll("a.event")];
  const stepOf = (event) => document.getElementById(event.getAttribute("href").slice(1));
  const eventOf = new Map(events.map((event) => [stepOf(event), event]));

  const light = (event) => {
    for (const lit of document.querySelectorAll(".on")) lit.classList.remove("on");
    if (!event) return;
    event.classList.add("on");
    stepOf(event).classList.add("on");
  };

  const beside = (event) => {
    const figure = event.closest("figure").getBoundingClientRect();
    return stepOf(event).getBoundingClientRect().left >= figure.right;
  };

  const show = (event) => {
    light(event);
    if (beside(event)) stepOf(event).scrollIntoView({ block: "nearest" });
  };

  events.forEach((event, position) => {
    event.addEventListener("mouseenter", () => light(event));
    event.addEventListener("focus", () => show(event));
    event.addEventListener("click", () => {
      const details = stepOf(event).querySelector("details");
      if (details) details.open = true;
      light(event);
    });
    event.addEventListener("keydown", (pressed) => {
      const by = { ArrowDown: 1, ArrowUp: -1 }[pressed.key];
      const next = by && events[position + by];
      if (!next) return;
      pressed.preventDefault();
      next.focus();
    });
  });
  for (const [step, event] of eventOf) step.addEventListener("mouseenter", () => light(event));

  for (const line of document.querySelectorAll(".replay")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const code = line.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
    });
    line.append(button);
  }
})();
