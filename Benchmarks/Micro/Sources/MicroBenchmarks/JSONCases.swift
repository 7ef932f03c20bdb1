import Facts

/// A reading as a producer sends it: names unsorted, numbers in several forms, text with escapes.
let sampleObject: [UInt8] = {
    var text = "{\"turbine\": \"R80711\", \"at\": \"2026-01-31T10:20:30Z\", \"values\": ["
    for number in 0..<24 {
        text += number == 0 ? "" : ", "
        text += "{\"unit\": \"kW\", \"name\": \"power_\(number)\", \"value\": \(number * 37).50}"
    }
    text += "], \"note\": \"caf\\u00e9 \\\"a\\\" \\n\", \"ok\": true, \"gap\": null, \"e\": 1.5e3}"
    return Array(text.utf8)
}()

let jsonCases = [
    MicroCase(name: "canonical-json", operation: "an object of about 1.2 KB") { _ in
        { operations in
            for _ in 0..<operations {
                let canonical = try CanonicalJSON.canonicalise(sampleObject)
                precondition(canonical.count < sampleObject.count, "spaces are gone")
            }
        }
    }
]
