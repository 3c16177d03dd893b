// Applied before anything is drawn, so that the page does not flash in the other theme.
(() => {
  const kept = () => { try { return localStorage.getItem("periogt-theme"); } catch { return null; } };
  const theme = kept();
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
