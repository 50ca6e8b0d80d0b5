/* The view that somebody sees who has changed nothing. */
const USUAL = { array: null, dark: null };
const DATA = JSON.parse(document.getElementById("data").textContent);
