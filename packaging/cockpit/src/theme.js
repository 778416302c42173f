// Light or dark, as Cockpit's shell says, else as the system does.

const STYLE = "shell:style";

export function follow() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const style = window.localStorage.getItem(STYLE) ?? "auto";
    const isDark = style === "dark" || (style === "auto" && dark.matches);
    document.documentElement.classList.toggle("pf-v6-theme-dark", isDark);
  };
  // The shell says so to its frames by an event of its own; `storage` is for what another window chose.
  window.addEventListener("cockpit-style", apply);
  window.addEventListener("storage", (event) => event.key === STYLE && apply());
  dark.addEventListener("change", apply);
  apply();
}
