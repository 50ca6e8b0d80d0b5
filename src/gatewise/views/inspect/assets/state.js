/* The view that somebody sees who has changed nothing. Layers and directions are "all" or a number as text; -1 is
   no unit, no step, and a size that fits. */
const USUAL = {
  view: "overview",
  layer: "0",
  direction: "0",
  unit: -1,
  unitLayer: 0,
  unitDirection: 0,
  step: -1,
  order: "similar",
  joined: false,
  cell: -1,
  row: -1,
  shown: null,
  kept: null,
  array: null,
  feature: null,
  sorts: null,
  from: 0,
  gradient: null,
  zoom: null,
  dark: null,
};
