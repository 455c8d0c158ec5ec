// Of the parts that unfold in the steps one is open at a time, so that the page stays below two windows.

const FOLDS = "#other-speeches > button, #options > button";
document.addEventListener("click", (event) => {
  const pressed = event.target.closest?.(FOLDS);
  if (!pressed || pressed.classList.contains("open")) return; // it is being closed
  for (const fold of document.querySelectorAll(FOLDS)) if (fold !== pressed && fold.classList.contains("open")) fold.click();
}, true);
