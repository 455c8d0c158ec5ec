// Gradio gives pictures no alternative text, does not mark its messages as live regions, and puts a button into the
// head of a message that is a button itself, which says "Error" whatever happened. NAMES: see theme.py.

const names = NAMES;
const name = () => {
  for (const [id, english] of Object.entries(names)) {
    const text = window.said(english);
    for (const picture of document.querySelectorAll(`#${id} img`)) {
      if (picture.alt !== text) picture.alt = text;
      picture.closest("button")?.setAttribute("aria-label", text);
    }
  }
  for (const empty of document.querySelectorAll(".empty[aria-label]")) empty.setAttribute("role", "img");
  for (const head of document.querySelectorAll(".toast-header[role=button]"))
    for (const attribute of ["role", "tabindex"]) head.removeAttribute(attribute);
  for (const toast of document.querySelectorAll(".toast-body")) {
    const [title, ...others] = [...toast.querySelectorAll(".toast-message-text strong:first-child")];
    if (!title) continue;
    const head = toast.querySelector(".toast-title").firstChild;
    if (head.data !== `${title.innerText} `) head.data = `${title.innerText} `;
    title.hidden = title.nextSibling.hidden = true;
    for (const other of others) other.hidden = other.nextSibling.hidden = other.textContent === title.textContent;
  }
  for (const id of ["status", "estimate"]) document.getElementById(id)?.setAttribute("role", "status");
};
new MutationObserver(name).observe(document, {childList: true, subtree: true});
