/// Finds the name that somebody may have meant.
package enum NearestName {
    /// The candidate closest to `name`, nil when none is close (a third of its letters, at most 3).
    package static func suggestion(for name: String, among candidates: [String]) -> String? {
        let typed = Array(name.utf8.prefix(64))
        let limit = min(3, max(1, typed.count / 3))
        var best: (distance: Int, name: String)?
        for candidate in candidates {
            let found = distance(typed, Array(candidate.utf8.prefix(64)))
            if found <= limit, best.map({ found < $0.distance }) ?? true {
                best = (found, candidate)
            }
        }
        return best?.name
    }

    /// "; did you mean 'x'?" or the list of what is known.
    package static func hint(for name: String, among candidates: [String]) -> String {
        if let near = suggestion(for: name, among: candidates) { return "did you mean '\(near)'?" }
        guard !candidates.isEmpty else { return "nothing is known here" }
        let shown = candidates.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.prefix(24)
        return "known here: \(shown.joined(separator: ", "))"
    }

    /// Edits (insert, delete, replace, swap neighbours) between two short texts.
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var beforePrevious = [Int](repeating: 0, count: right.count + 1)
        var previous = Array(0...right.count)
        for row in 0..<left.count {
            var current = [row + 1] + [Int](repeating: 0, count: right.count)
            for column in 0..<right.count {
                let isSame = left[row] == right[column]
                current[column + 1] = min(
                    previous[column] + (isSame ? 0 : 1), previous[column + 1] + 1,
                    current[column] + 1)
                if row > 0, column > 0, left[row] == right[column - 1],
                    left[row - 1] == right[column]
                {
                    current[column + 1] = min(current[column + 1], beforePrevious[column - 1] + 1)
                }
            }
            beforePrevious = previous
            previous = current
        }
        return previous[right.count]
    }
}
