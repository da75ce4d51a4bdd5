// One tooltip for everything with data-tip: on hover and on focus, closed by Escape.
"use strict";

{
  const tip = document.getElementById("tip");
  let owner = null;

  const hide = () => {
    tip.hidden = true;
    owner?.removeAttribute("aria-describedby");
    owner = null;
  };

  const place = () => {
    if (!owner) return;
    const box = owner.getBoundingClientRect();
    const below = box.bottom + 6;
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${below + tip.offsetHeight < innerHeight ? below : box.top - tip.offsetHeight - 6}px`;
  };

  const show = (element) => {
    hide();
    owner = element;
    owner.setAttribute("aria-describedby", "tip");
    tip.textContent = element.dataset.tip;
    tip.hidden = false;
    place();
  };

  const ownerOf = (event) => event.target.closest?.("[data-tip]");
  const begins = (event) => { if (ownerOf(event)) show(ownerOf(event)); };
  const ends = (event) => { if (owner && ownerOf(event) === owner) hide(); };
  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, begins);
  for (const name of ["pointerout", "focusout"]) document.addEventListener(name, ends);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  // Focus can scroll what it reaches into view.
  addEventListener("scroll", place, true);
}
