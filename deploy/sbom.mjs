// Writes what the program is made of as a software bill of materials: CycloneDX 1.6, JSON.
//
//   node deploy/sbom.mjs > zoomhook.cdx.json
//   node deploy/sbom.mjs --target aarch64-unknown-linux-gnu > zoomhook-arm.cdx.json
//
// It holds what is linked into the binary or was run to write code of it: crates, the SQLite inside one of them, and
// the scripts of the console. What only tests and builds need is not in it. Options are those of `cargo tree`: give
// the target and the features of the build. The same sources give the same bytes; SOURCE_DATE_EPOCH adds a time.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const root = dirname(import.meta.dirname);
const run = (program, ...options) =>
  execFileSync(program, options, { cwd: root, encoding: "utf8", maxBuffer: 1 << 30 });

/** Returns the SHA-256 of every package from a registry, by name and version. */
function checksums() {
  const packages = readFileSync(join(root, "Cargo.lock"), "utf8").split("[[package]]").slice(1);
  const field = (text, name) => text.match(new RegExp(`^${name} = "(.*)"$`, "m"))?.[1];
  return new Map(packages.map((text) => [`${field(text, "name")}@${field(text, "version")}`, field(text, "checksum")]));
}

/** Returns what each package needs to run, by purl, and describes each; the first is the program. */
function shipped(options) {
  const hashes = checksums();
  const [crates, graph, path] = [new Map(), new Map(), []];
  const lines = run("cargo", "tree", "--locked", "-e", "normal", "--prefix", "depth", "-f", "|{p}|{l}", ...options);
  for (const line of lines.trimEnd().split("\n")) {
    const [depth, name, version, license] = line.match(/^(\d+)\|(\S+) v(\S+)[^|]*\|(.*?)( \(\*\))?$/).slice(1, 5);
    const purl = `pkg:cargo/${name}@${encodeURIComponent(version)}`;
    path.splice(Number(depth), path.length, purl);
    // Of a package that comes again, what it needs is written once.
    if (!crates.has(purl)) {
      crates.set(purl, crate(purl, name, version, license, hashes.get(`${name}@${version}`)));
      graph.set(purl, new Set());
    }
    if (path.length > 1) graph.get(path.at(-2)).add(purl);
  }
  return [[...crates.values()], graph];
}

function crate(purl, name, version, license, checksum) {
  // Older crates write a slash for OR.
  const licenses = [{ expression: license.replaceAll("/", " OR ") }];
  const hashes = checksum ? [{ alg: "SHA-256", content: checksum }] : [];
  return { type: "library", "bom-ref": purl, name, version, hashes, licenses, purl };
}

/** Describes the SQLite whose source is a part of the crate `libsqlite3-sys`, and names that crate. */
function sqlite() {
  const host = run("rustc", "-vV").match(/^host: (.*)$/m)[1];
  // For this platform alone, since the packages of the others need not be here.
  const metadata = run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host);
  const carrier = JSON.parse(metadata).packages.find(({ name }) => name === "libsqlite3-sys");
  const header = readFileSync(join(dirname(carrier.manifest_path), "sqlite3", "sqlite3.h"), "utf8");
  const version = header.match(/^#define SQLITE_VERSION +"(.*)"$/m)[1];
  const purl = `pkg:generic/sqlite@${version}`;
  const cpe = `cpe:2.3:a:sqlite:sqlite:${version}:*:*:*:*:*:*:*`;
  const licenses = [{ expression: "blessing" }];
  const component = { type: "library", "bom-ref": purl, name: "sqlite", version, licenses, cpe, purl };
  return [component, `pkg:cargo/${carrier.name}@${carrier.version}`];
}

/** Describes the scripts of the console, which are kept as they were published. */
function scripts() {
  const table = readFileSync(join(root, "src/admin/console/vendor/README.md"), "utf8");
  const rows = table.split("\n").filter((line) => line.startsWith("| `"));
  const found = new Map();
  for (const row of rows) {
    const [, , name, version, , licence] = row.split("|").map((cell) => cell.trim());
    const purl = `pkg:npm/${name}@${version}`;
    const licenses = [{ expression: licence.match(/\((.*)\)/)[1] }];
    found.set(purl, { type: "library", "bom-ref": purl, name, version, licenses, purl });
  }
  return [...found.values()];
}

const [[application, ...components], graph] = shipped(process.argv.slice(2));
const program = { ...application, type: "application" };
for (const [component, user] of [sqlite(), ...scripts().map((script) => [script, program.purl])]) {
  components.push(component);
  graph.get(user).add(component.purl);
  graph.set(component.purl, new Set());
}

const by = (key) => (a, b) => (a[key] < b[key] ? -1 : 1);
const document = {
  components: components.sort(by("bom-ref")),
  dependencies: [...graph].map(([ref, on]) => ({ ref, dependsOn: [...on].sort() })).sort(by("ref")),
};
const epoch = process.env.SOURCE_DATE_EPOCH;
const time = epoch ? { timestamp: new Date(Number(epoch) * 1000).toISOString() } : {};
// Two lists of the same things have the same number.
const digest = createHash("sha256").update(JSON.stringify([program, document])).digest("hex");
const serial = [
  digest.slice(0, 8), digest.slice(8, 12), `8${digest.slice(13, 16)}`, `a${digest.slice(17, 20)}`, digest.slice(20, 32),
].join("-");
const bom = {
  $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
  bomFormat: "CycloneDX",
  specVersion: "1.6",
  serialNumber: `urn:uuid:${serial}`,
  version: 1,
  metadata: { ...time, component: program },
  ...document,
};
process.stdout.write(`${JSON.stringify(bom, null, 2)}\n`);
