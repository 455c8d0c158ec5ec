// On a phone one side of the page is shown: the steps until there is a result, then what the visitor chooses.

const side = (name) => document.getElementById({steps: "steps", result: "workspace"}[name]);
const button = (name) => document.getElementById(`show-${name}`);
const isNarrow = matchMedia("(max-width: 780px)");

function show(name) {
  const page = document.getElementById("page");
  const hidden = side(name === "steps" ? "result" : "steps");
  const hadFocus = isNarrow.matches && hidden.contains(document.activeElement);
  page.dataset.shown = name;
  for (const each of ["steps", "result"]) button(each).setAttribute("aria-pressed", each === name);
  if (hadFocus) button(name).focus();
  if (isNarrow.matches) page.scrollIntoView();
}
document.addEventListener("click", (event) => {
  if (event.target.closest?.("#show-steps")) show("steps");
  if (event.target.closest?.("#show-result, #examples button")) show("result"); // an example's progress is shown there
});
for (const type of ["growing", "result"]) document.addEventListener(type, () => show("result"));
