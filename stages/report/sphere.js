"use strict";
// The sphere: one rectangle on which a shader turns every pixel into a ray and looks it up in two layers.
// Axes: x right, y up, z forward to the middle of the panorama; yaw grows to the right, pitch upwards.

const VERTEX = `#version 300 es
in vec2 corner;
void main() { gl_Position = vec4(corner, 0.0, 1.0); }`;

// textureLod without mipmaps: at the seam neighbouring pixels read from both ends of the texture, and a level of
// detail taken from that jump would draw a line there.
const FRAGMENT = `#version 300 es
precision highp float;
uniform vec2 size;
uniform float yaw, pitch, slope, span, opacity, swipe;
uniform sampler2D base, over, basePalette, overPalette;
uniform int baseKind, overKind;
out vec4 colour;
const float PI = 3.14159265358979;

vec3 ramp(float part) {
  vec3 low = mix(vec3(.27, .0, .33), vec3(.13, .57, .55), clamp(2.0 * part, 0.0, 1.0));
  return mix(low, vec3(.99, .91, .14), clamp(2.0 * part - 1.0, 0.0, 1.0));
}

vec4 shown(sampler2D layer, sampler2D palette, int kind, vec2 place) {
  vec4 found = textureLod(layer, place, 0.0);
  if (kind == 1) return texelFetch(palette, ivec2(int(found.r * 255.0 + 0.5), 0), 0);
  return kind == 2 ? vec4(ramp(found.r), 1.0) : vec4(found.rgb, 1.0);
}

void main() {
  vec2 spot = (gl_FragCoord.xy - 0.5 * size) / (0.5 * size.x) * slope;
  vec3 ray = normalize(vec3(spot, 1.0));
  float c = cos(pitch), s = sin(pitch);
  ray = vec3(ray.x, c * ray.y + s * ray.z, c * ray.z - s * ray.y);
  c = cos(yaw); s = sin(yaw);
  ray = vec3(c * ray.x + s * ray.z, ray.y, c * ray.z - s * ray.x);
  vec2 place = vec2(atan(ray.x, ray.z) / (2.0 * PI) + 0.5, 0.5 - asin(clamp(ray.y, -1.0, 1.0)) / span);
  if (place.y < 0.0 || place.y > 1.0) { colour = vec4(.09, .09, .11, 1.0); return; }
  vec4 below = shown(base, basePalette, baseKind, place), above = shown(over, overPalette, overKind, place);
  float share = swipe < 0.0 ? opacity : step(swipe, gl_FragCoord.x / size.x);
  colour = vec4(mix(below.rgb * below.a, above.rgb, above.a * share), 1.0);
  if (swipe >= 0.0 && abs(gl_FragCoord.x - swipe * size.x) < 1.0) colour = vec4(1.0);
}`;

const KIND_NUMBERS = { colours: 0, classes: 1, numbers: 1, values: 2 };

const isPalette = (layer) => KIND_NUMBERS[layer.kind] === 1;

function compiled(gl, type, source) {
  const shader = gl.createShader(type);
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
  return shader;
}

class Sphere {
  // Throws where there is no WebGL 2.
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
    if (!gl) throw new Error("no WebGL 2");
    this.canvas = canvas;
    this.gl = gl;
    this.program = gl.createProgram();
    gl.attachShader(this.program, compiled(gl, gl.VERTEX_SHADER, VERTEX));
    gl.attachShader(this.program, compiled(gl, gl.FRAGMENT_SHADER, FRAGMENT));
    gl.linkProgram(this.program);
    if (!gl.getProgramParameter(this.program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(this.program));
    gl.useProgram(this.program);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    const corner = gl.getAttribLocation(this.program, "corner");
    gl.enableVertexAttribArray(corner);
    gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    this.textures = new Map();
  }

  // Pixels that are numbers must arrive as they are: no colour conversion, no filter.
  upload(layer) {
    const gl = this.gl;
    if (this.textures.has(layer)) return this.textures.get(layer);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    const image = this.texture(isPalette(layer) ? gl.NEAREST : gl.LINEAR, gl.REPEAT);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, layer.image);
    const palette = this.texture(gl.NEAREST, gl.CLAMP_TO_EDGE);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, layer.palette);
    this.textures.set(layer, { image, palette });
    return this.textures.get(layer);
  }

  texture(filter, wrap) {
    const gl = this.gl, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, wrap);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    return texture;
  }

  forget() {
    for (const { image, palette } of this.textures.values()) [image, palette].forEach((t) => this.gl.deleteTexture(t));
    this.textures.clear();
  }

  // state: yaw, pitch, fov (radians, fov across), span, opacity, swipe (-1 for none), base and top (layers).
  draw(state) {
    const gl = this.gl, ratio = window.devicePixelRatio || 1;
    const width = Math.round(this.canvas.clientWidth * ratio), height = Math.round(this.canvas.clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    gl.viewport(0, 0, width, height);
    const base = this.upload(state.base), over = this.upload(state.top);
    [["base", base.image], ["over", over.image], ["basePalette", base.palette], ["overPalette", over.palette]].forEach(
      ([name, texture], unit) => {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.bindTexture(gl.TEXTURE_2D, texture);
        gl.uniform1i(gl.getUniformLocation(this.program, name), unit);
      });
    const set = (name, value) => gl.uniform1f(gl.getUniformLocation(this.program, name), value);
    gl.uniform2f(gl.getUniformLocation(this.program, "size"), width, height);
    gl.uniform1i(gl.getUniformLocation(this.program, "baseKind"), KIND_NUMBERS[state.base.kind]);
    gl.uniform1i(gl.getUniformLocation(this.program, "overKind"), KIND_NUMBERS[state.top.kind]);
    for (const name of ["yaw", "pitch", "span", "opacity", "swipe"]) set(name, state[name]);
    set("slope", Math.tan(state.fov / 2));
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
}

// Where a spot of the view (x, y from 0 to 1, y down) lies on the canvas of the layers, from 0 to 1 each; the same as in
// the shader.
function placeUnder(x, y, aspect, state) {
  const slope = Math.tan(state.fov / 2);
  const right = (2 * x - 1) * slope, up = (1 - 2 * y) * slope / aspect;
  const c = Math.cos(state.pitch), s = Math.sin(state.pitch);
  const height = c * up + s, forward = c - s * up;
  const yaw = Math.atan2(right, forward) + state.yaw;
  const pitch = Math.atan2(height, Math.hypot(right, forward));
  return [((yaw / (2 * Math.PI) + 0.5) % 1 + 1) % 1, 0.5 - pitch / state.span];
}
