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

  const show = (element) => {
    hide();
    owner = element;
    owner.setAttribute("aria-describedby", "tip");
    tip.textContent = element.dataset.tip;
    tip.hidden = false;
    const place = element.getBoundingClientRect();
    const left = Math.min(Math.max(8, place.left), innerWidth - tip.offsetWidth - 8);
    const below = place.bottom + 6;
    tip.style.left = `${left}px`;
    tip.style.top = `${below + tip.offsetHeight < innerHeight ? below : place.top - tip.offsetHeight - 6}px`;
  };

  const ownerOf = (event) => event.target.closest?.("[data-tip]");
  for (const name of ["pointerover", "focusin"]) {
    document.addEventListener(name, (event) => { if (ownerOf(event)) show(ownerOf(event)); });
  }
  for (const name of ["pointerout", "focusout"]) {
    document.addEventListener(name, (event) => { if (owner && ownerOf(event) === owner) hide(); });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  addEventListener("scroll", hide, true);
}
