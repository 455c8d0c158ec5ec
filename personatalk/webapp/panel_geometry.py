"""Research panels of the geometry: the estimated and the driven mesh over the clip, in three dimensions, over time."""

from __future__ import annotations

from typing import Any

import gradio as gr

from personatalk.inspection.geometry import geometry_pictures, save_mesh
from personatalk.inspection.glb import geometry_glb
from personatalk.inspection.overlay import geometry_overlay
from personatalk.inspection.turntable import turntable
from personatalk.webapp import strings
from personatalk.webapp.charts import add_chart, pose_chart
from personatalk.webapp.languages import choices_on_page, on_page
from personatalk.webapp.panels import Group, Panel, PanelContext, add_gallery, add_group, add_panel

# Without a graphics card the film is shown, unless the visitor has chosen otherwise.
CHOOSE_VIEW = """(shown) => {
  const poor = document.documentElement.matches(".webgl-missing, .webgl-software"), first = !window.modelViewChosen;
  window.modelViewChosen = true;
  return poor && first ? "film" : shown;
}"""


def add_geometry() -> Group:
    """Lay the panels out."""
    with add_group(strings.GEOMETRY_LABEL, "geometry") as tab, gr.Tabs(elem_id="geometry-tabs"):
        return Group(tab=tab, panels=[_add_meshes(), _add_model(), _add_curves(), _add_overlay()])


def _add_meshes() -> Panel:
    with add_panel(strings.MESHES_LABEL, "meshes") as tab:
        gr.Markdown(on_page(strings.GEOMETRY_NOTE))
        pictures = add_gallery(strings.GEOMETRY_PICTURE, "geometry-pictures", 4)
        with gr.Row():
            ply, npz = (
                gr.DownloadButton(on_page(label), size="sm", min_width=120, elem_id=f"download-{kind}")
                for label, kind in ((strings.DOWNLOAD_PLY, "ply"), (strings.DOWNLOAD_NPZ, "npz"))
            )
    return Panel(tab=tab, whole=[npz], fill=_fill_meshes, moment=[pictures, ply], move=_move_meshes)


def _fill_meshes(context: PanelContext) -> list[Any]:
    return [context.file("geometry.npz", lambda path: save_mesh(context.inspection, context.t, path))]


def _move_meshes(context: PanelContext) -> list[Any]:
    t = context.t
    return [
        context.gallery(f"geometry_{t}", lambda: geometry_pictures(context.inspection, t)),
        context.file(f"frame_{t}.ply", lambda path: save_mesh(context.inspection, t, path)),
    ]


def _add_model() -> Panel:
    with add_panel(strings.MODEL_LABEL, "model") as tab:
        gr.Markdown(on_page(strings.GEOMETRY_MODEL))
        gr.Markdown(
            on_page(strings.WEBGL_MISSING), elem_id="webgl-missing"
        )  # the page's script shows one of these, or none
        gr.Markdown(on_page(strings.WEBGL_SOFTWARE), elem_id="webgl-software")
        with gr.Row():
            shown = gr.Radio(
                choices_on_page(strings.MODEL_VIEWS),
                value="model",
                label=on_page(strings.MODEL_VIEW),
                elem_id="model-view",
            )
            surface = gr.Radio(
                choices_on_page(strings.SURFACES), value="texture", label=on_page(strings.SURFACE), elem_id="surface"
            )
        model = gr.Model3D(
            label=on_page(strings.GEOMETRY_MODEL), show_label=False, height=380, elem_id="geometry-model"
        )
        film = gr.Video(
            label=on_page(strings.TURNTABLE), interactive=False, autoplay=True, loop=True, height=380, visible=False,
            elem_id="turntable", buttons=["download"],
        )  # fmt: skip
        glb = gr.DownloadButton(on_page(strings.DOWNLOAD_GLB), size="sm", min_width=120, elem_id="download-glb")
    tab.select(None, shown, shown, js=CHOOSE_VIEW, api_visibility="private", show_progress="hidden")
    return Panel(tab=tab, settings=[shown, surface], whole=[model, film, glb], fill=_fill_model)


def _fill_model(context: PanelContext, shown: str, surface: str) -> list[Any]:
    is_textured = surface == "texture"
    name = "geometry_textured.glb" if is_textured else "geometry.glb"
    glb = context.file(name, lambda path: geometry_glb(context.inspection, path, textured=is_textured))
    if shown == "model":
        return [glb, gr.Video(visible=False), glb]
    film = context.file(f"turning_{surface}.mp4", lambda path: turntable(context.inspection, path, surface=surface))
    return [None, gr.Video(film, visible=True), glb]


def _add_curves() -> Panel:
    with add_panel(strings.CURVES_LABEL, "curves") as tab:
        curves = add_chart(strings.GEOMETRY_CURVES, "geometry-curves")
    return Panel(tab=tab, whole=[curves], fill=lambda context: [pose_chart(context.inspection)])


def _add_overlay() -> Panel:
    with add_panel(strings.OVERLAY_LABEL, "overlay") as tab:
        button = gr.Button(on_page(strings.GEOMETRY_OVERLAY_BUTTON), size="sm", elem_id="make-overlay")
        overlay = gr.Video(
            label=on_page(strings.GEOMETRY_OVERLAY), interactive=False, elem_id="geometry-overlay", height=420
        )
    return Panel(tab=tab, actions=[(button.click, _overlay, [overlay])])


def _overlay(context: PanelContext) -> list[Any]:
    return [context.file("overlay.mp4", lambda path: geometry_overlay(context.inspection, context.video, path))]
