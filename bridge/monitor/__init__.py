"""The live monitor: a window (matplotlib) that looks at a run over the control socket, and steers it.

| module | is |
|---|---|
| `feed` | where frames, figures and answers come from: a run, over the network, in two threads |
| `memory` | what the window remembers: the results of the last frames, histories |
| `measures` | arithmetic: focus, spread, displacement, levels |
| `painter` | draws one panel at a time into the window (blitting) |
| `image_panel`, `line_panels`, `flow_panels`, `motion_panels`, `trap_panels`, `controls` | the panels |
| `window` | puts them together, on a desktop or into files |

It is a live reader like any other client: it holds nothing up, and closing it stops nothing but itself.
"""
