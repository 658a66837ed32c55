// The order in which it all begins: the first chart at once, the rest when the page has arrived or comes near.
const THEMES = ["auto", "light", "dark"];
const startTheme = () => {
  const button = byId("theme");
  if (!button) return;
  let theme = 0;
  const show = () => {
    if (theme) root.dataset.theme = THEMES[theme];
    else delete root.dataset.theme;
    button.textContent = `Colours: ${THEMES[theme]}`;
  };
  button.addEventListener("click", () => {
    theme = (theme + 1) % THEMES.length;
    show();
    recolour();
  });
  show();
  button.hidden = false;
};

const startSections = () => {
  const links = new Map([...document.querySelectorAll(".sections a")].map((link) => [link.hash.slice(1), link]));
  if (!links.size) return;
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const id of links.keys()) if (byId(id)) seen.observe(byId(id));
};

const startCharts = () => {
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      draw(target.dataset.chart);
    }
  }, { rootMargin: "400px 0px" });
  for (const node of document.querySelectorAll("[data-chart]")) near.observe(node);
};

const first = document.querySelector("[data-first]");
if (first && window.Plotly) draw(first.dataset.chart);
startTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
addEventListener("scroll", hideTip, { passive: true });

let shownTheme;
addEventListener("beforeprint", () => {
  shownTheme = root.dataset.theme;
  root.dataset.theme = "light";
  drawAll();
  recolour();
});
addEventListener("afterprint", () => {
  if (shownTheme) root.dataset.theme = shownTheme;
  else delete root.dataset.theme;
  recolour();
});

const whole = () => {
  startCharts();
  startTable();
  startSections();
  if (addressed) {
    addEventListener("hashchange", pickAddressed);
    pickAddressed();
  }
  root.dataset.ready = "";
};
// a chart that is drawn should be painted before the table of ten thousand trials is read
addEventListener("DOMContentLoaded", () => requestAnimationFrame(() => setTimeout(whole)));
