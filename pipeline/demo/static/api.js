// Requests to the page's own server.

async function result(response) {
  const value = await response.json();
  if (!response.ok) throw new Error(value.error ?? `status ${response.status}`);
  return value;
}

export async function get(path) {
  return result(await fetch(path));
}

export async function post(path, body) {
  return result(await fetch(path, { method: "POST", body }));
}

export async function picture(path) {
  const response = await fetch(path);
  if (!response.ok) return result(response);
  return createImageBitmap(await response.blob());
}

export function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
