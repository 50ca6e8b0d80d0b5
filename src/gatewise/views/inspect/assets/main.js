/* The frame of the page: which view is shown, and what is drawn when the state changes. */

class Page {
  constructor() {
    this.views = [new Overview(), new GatesView(), new CutView(), new WrittenView(), new FollowView(), new RememberView(), new SaturationView(), new DecidedView(), new ClampsView(), new PredictionsView(), new GradientView()];
    this.tabs = element("nav", { "aria-label": "views" });
    this.turn = 0;
    const head = element("header", {}, element("h1", {}, quoted(DATA.title, 200)), schemeButton());
    const made = DATA.made ? `, ${DATA.made.replace("T", " ").replace("+00:00", " UTC")}` : "";
    document.body.prepend(element("main", {}, head, element("p", { class: "note" }, `Gatewise ${DATA.version}${made}`), this.tabs, ...this.views.map((view) => view.element)));
  }

  /* Draw the chosen view once its arrays are decoded, unless the state has changed again by then. */
  async draw() {
    document.documentElement.dataset.ready = "no";
    const turn = ++this.turn;
    applyScheme();
    const view = this.views.find(({ name }) => name === state.view) ?? this.views[0];
    withFocus(this.tabs, () => this.tabs.replaceChildren(...this.views.map(({ name, text }) => button(text, () => change({ view: name, zoom: null }), { "aria-pressed": String(name === view.name), id: `tab-${name}` }))));
    await view.prepare();
    if (turn !== this.turn) return;
    for (const other of this.views) other.element.hidden = other !== view;
    const key = view.key();
    withFocus(view.element, () => {
      if (view.built !== key) view.build();
      view.built = key;
      view.mark();
    });
    document.documentElement.dataset.ready = "yes";
  }
}

/* Do what makes elements anew: the focus and what was scrolled go to those that stand in the place of the old ones. */
function withFocus(box, work) {
  const focusable = () => [...box.querySelectorAll("button, select, input, summary, [tabindex]")];
  const scrolled = () => [...box.querySelectorAll(".scroll, .map-scroll, .ribbon")];
  const before = document.activeElement;
  const place = box.contains(before) ? focusable().indexOf(before) : -1;
  const positions = scrolled().map(({ scrollLeft, scrollTop }) => ({ scrollLeft, scrollTop }));
  work();
  if (scrolled().length === positions.length) scrolled().forEach((it, i) => Object.assign(it, positions[i]));
  if (place >= 0 && !box.contains(before)) focusable()[place]?.focus({ preventScroll: true });
}

readAddress();
const page = new Page();
listeners.push(() => page.draw());
page.draw();
drawOnChanges(() => page.draw());

/* Paper is white: what a dark page has drawn on canvases is drawn again in light colors, and back afterwards. */
let chosenScheme = null;
addEventListener("beforeprint", () => {
  chosenScheme = state.dark;
  if (!isDark()) return;
  state.dark = false;
  page.draw();
});
addEventListener("afterprint", () => {
  if (state.dark === chosenScheme) return;
  state.dark = chosenScheme;
  page.draw();
});
