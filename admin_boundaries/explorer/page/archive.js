// Reads a PMTiles archive by ranges: header and directories once, then one range for each tile.
"use strict";

class Archive {
  constructor(url) {
    this.url = url;
    this.directories = new Map();
  }

  async range(offset, length, signal) {
    const answer = await fetch(this.url, { headers: { Range: `bytes=${offset}-${offset + length - 1}` }, signal });
    if (answer.status === 200 && Number(answer.headers.get("Content-Length")) > length)
      throw new Error("This web server does not answer requests for ranges, which the map needs.");
    if (answer.status === 404) throw new Error("These tiles are not here any more. Reload the page for the map of today.");
    if (!answer.ok) throw new Error(`${this.url}: the server answered ${answer.status}.`);
    return new Uint8Array(await answer.arrayBuffer()).slice(0, length);
  }

  static async unzipped(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async open() {
    const bytes = await this.range(0, 127), view = new DataView(bytes.buffer);
    const number = (at) => Number(view.getBigUint64(at, true));
    if (new TextDecoder().decode(bytes.slice(0, 7)) !== "PMTiles" || bytes[7] !== 3)
      throw new Error(`${this.url} is not a PMTiles archive of version 3.`);
    this.root = { offset: number(8), length: number(16) };
    this.leaves = number(40);
    this.data = number(56);
    this.zooms = [bytes[100], bytes[101]];
    const degrees = (at) => view.getInt32(at, true) / 1e7;
    this.box = [degrees(102), degrees(106), degrees(110), degrees(114)];
    this.metadata = JSON.parse(new TextDecoder().decode(await Archive.unzipped(await this.range(number(24), number(32)))));
    return this;
  }

  directory(offset, length) {
    if (!this.directories.has(offset)) this.directories.set(offset, this.read(offset, length));
    return this.directories.get(offset);
  }

  async read(offset, length) {
    const bytes = await Archive.unzipped(await this.range(offset, length));
    let at = 0;
    const next = () => {
      let number = 0, factor = 1, byte;
      do { byte = bytes[at++]; number += (byte & 127) * factor; factor *= 128; } while (byte > 127);
      return number;
    };
    const entries = Array.from({ length: next() }, () => ({}));
    let id = 0;
    for (const entry of entries) entry.id = id += next();
    for (const entry of entries) entry.run = next();
    for (const entry of entries) entry.length = next();
    entries.forEach((entry, index) => {
      const offset = next();
      entry.offset = offset === 0 ? entries[index - 1].offset + entries[index - 1].length : offset - 1;
    });
    return entries;
  }

  static id(zoom, x, y) {
    let number = (4 ** zoom - 1) / 3;
    for (let side = 2 ** (zoom - 1); side >= 1; side /= 2) {
      const right = x & side ? 1 : 0, below = y & side ? 1 : 0;
      number += side * side * ((3 * right) ^ below);
      if (!below) {
        if (right) [x, y] = [side - 1 - x, side - 1 - y];
        [x, y] = [y, x];
      }
      x &= side - 1;
      y &= side - 1;
    }
    return number;
  }

  async tile(zoom, x, y, signal) {
    const id = Archive.id(zoom, x, y);
    let { offset, length } = this.root;
    for (let depth = 0; depth < 4; depth++) {
      const entries = await this.directory(offset, length);
      let low = 0, high = entries.length;
      while (low < high) { const middle = (low + high) >> 1; if (entries[middle].id <= id) low = middle + 1; else high = middle; }
      const entry = entries[low - 1];
      if (!entry) return null;
      if (entry.run) return id < entry.id + entry.run
        ? Archive.unzipped(await this.range(this.data + entry.offset, entry.length, signal)) : null;
      [offset, length] = [this.leaves + entry.offset, entry.length];
    }
    return null;
  }
}
