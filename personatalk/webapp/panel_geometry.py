"""Research panel: the estimated and the driven mesh, animated, over the clip, and as files."""

from __future__ import annotations

from typing import Any

import gradio as gr

from personatalk.inspection.geometry import curves_picture, geometry_picture, save_mesh
from personatalk.inspection.glb import geometry_glb
from personatalk.inspection.overlay import geometry_overlay
from personatalk.webapp import strings
from personatalk.webapp.panels import Panel, PanelContext, add_panel, add_picture


def add_geometry() -> Panel:
    """Lay the panel out."""
    with add_panel(strings.GEOMETRY_LABEL, "geometry") as accordion:
        gr.Markdown(strings.GEOMETRY_NOTE)
        picture = add_picture(strings.GEOMETRY_PICTURE, "geometry-picture")
        textured = gr.Checkbox(True, label=strings.GEOMETRY_TEXTURED, elem_id="textured")
        gr.Markdown(f"**{strings.GEOMETRY_MODEL}**")
        gr.Markdown(strings.WEBGL_MISSING, elem_id="webgl-missing")  # the page's script shows one of these, or none
        gr.Markdown(strings.WEBGL_SOFTWARE, elem_id="webgl-software")
        model = gr.Model3D(label=strings.GEOMETRY_MODEL, show_label=False, height=360, elem_id="geometry-model")
        curves = add_picture(strings.GEOMETRY_CURVES, "geometry-curves")
        button = gr.Button(strings.GEOMETRY_OVERLAY_BUTTON, size="sm", elem_id="make-overlay")
        overlay = gr.Video(label=strings.GEOMETRY_OVERLAY, interactive=False, elem_id="geometry-overlay", visible=False)
        with gr.Row():
            glb, ply, npz = (
                gr.DownloadButton(label, size="sm", min_width=120, elem_id=f"download-{kind}")
                for label, kind in (
                    (strings.DOWNLOAD_GLB, "glb"),
                    (strings.DOWNLOAD_PLY, "ply"),
                    (strings.DOWNLOAD_NPZ, "npz"),
                )
            )
    return Panel(
        accordion=accordion,
        settings=[textured],
        whole=[model, glb, npz],
        fill=_fill,
        moment=[picture, curves, ply],
        move=_move,
        actions=[(button.click, _overlay, [overlay])],
    )


def _fill(context: PanelContext, textured: bool) -> list[Any]:
    name = "geometry_textured.glb" if textured else "geometry.glb"
    glb = context.file(name, lambda path: geometry_glb(context.inspection, path, textured=textured))
    return [glb, glb, context.file("geometry.npz", lambda path: save_mesh(context.inspection, context.t, path))]


def _move(context: PanelContext, textured: bool) -> list[Any]:
    t = context.t
    return [
        context.picture(f"geometry_{t}", lambda: geometry_picture(context.inspection, t)),
        context.picture(f"curves_{t}", lambda: curves_picture(context.inspection, t)),
        context.file(f"frame_{t}.ply", lambda path: save_mesh(context.inspection, t, path)),
    ]


def _overlay(context: PanelContext, textured: bool) -> list[Any]:
    path = context.file("overlay.mp4", lambda path: geometry_overlay(context.inspection, context.video, path))
    return [gr.Video(path, visible=True)]
