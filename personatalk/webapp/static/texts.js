// Texts that Gradio does not translate: of templates and of scripts; by language, from English.

const translations = TEXTS;
const asked = (navigator.languages || [navigator.language]).map((name) => name.split("-")[0].toLowerCase());
const language = asked.find((name) => name === "en" || name in translations) || "en";
window.said = (text) => translations[language]?.[text] ?? text;

// Translate what stands in a template.
window.translate = (element) => {
  for (const node of [element, ...element.querySelectorAll("*")]) {
    for (const name of ["aria-label", "title"])
      if (node.hasAttribute(name)) node.setAttribute(name, window.said(node.getAttribute(name)));
    for (const child of node.childNodes) if (child.nodeType === Node.TEXT_NODE) child.data = window.said(child.data.trim() || child.data);
  }
};
