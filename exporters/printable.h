// Makes text from the network fit to be shown: a name, SQL or URL that a client chose must not be
// able to move the cursor, recolour, retitle or reorder an operator's terminal or log.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace zerotap {

// Appends `text` with control characters (C0, DEL, C1), bytes that are not UTF-8, and invisible or
// direction-changing code points written as escapes (\n, \x1b, \u202e); at most `max_columns`
// columns, the last one "…" when something was cut. Returns the columns used, one per code point.
size_t AppendPrintable(std::string_view text, size_t max_columns, std::string& out);

std::string Printable(std::string_view text, size_t max_columns);

}  // namespace zerotap
