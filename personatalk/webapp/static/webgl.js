// What the 3-D view can expect of this browser, as a class of the whole document.

const canvas = document.createElement("canvas");
const gl = canvas.getContext("webgl2") || canvas.getContext("webgl");
if (!gl) document.documentElement.classList.add("webgl-missing");
else {
  const names = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  if (/swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer))
    document.documentElement.classList.add("webgl-software");
  gl.getExtension("WEBGL_lose_context")?.loseContext();
}
