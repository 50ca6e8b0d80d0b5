/* Look every other second whether the runs have changed, and load the page again where they have. */
const SECONDS_BETWEEN = 2;
let seen = null;

async function look() {
  try {
    const answer = await fetch("version", { cache: "no-store" });
    const version = await answer.text();
    if (answer.ok && seen !== null && version !== seen) {
      sessionStorage.setItem("scrolled", JSON.stringify([scrollX, scrollY]));
      location.reload();
      return;
    }
    if (answer.ok) seen = version;
    document.documentElement.dataset.watch = "on";
  } catch {
    document.documentElement.dataset.watch = "off"; // the program that served it has ended
  }
  setTimeout(look, SECONDS_BETWEEN * 1000);
}

addEventListener("load", () => {
  const [x, y] = JSON.parse(sessionStorage.getItem("scrolled") ?? "[0, 0]");
  sessionStorage.removeItem("scrolled");
  setTimeout(() => scrollTo(x, y), 50);
  look();
});
