"use strict";
// What goes wrong is kept where a test, or a person with the inspector, finds it: in the root's data-errors.
(() => {
  const note = (text) => {
    const kept = document.documentElement.dataset;
    kept.errors = (kept.errors ? kept.errors + "\n" : "") + text;
  };
  addEventListener("error", (event) => note(event.message));
  addEventListener("unhandledrejection", (event) => note(String(event.reason)));
  addEventListener("securitypolicyviolation", (event) => note(event.violatedDirective + " " + event.blockedURI));
})();
