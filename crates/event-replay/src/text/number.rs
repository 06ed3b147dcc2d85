//! The parsing of numbers, durations and sizes. Each error states the valid form.

use std::time::Duration;

use replay::FailureLimit;

/// Parses a number of events, from 1.
pub fn limit(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(number @ 1..=9_223_372_036_854_775_807) => Ok(number),
        _ => Err("a limit is a whole number from 1 to 9223372036854775807".to_owned()),
    }
}

/// Parses the number of events per batch, from 1 to 10000.
pub fn batch_size(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number @ 1..=10_000) => Ok(number),
        _ => Err("a batch size is a whole number from 1 to 10000".to_owned()),
    }
}

/// Parses a number of retries, from 0 to 1000.
pub fn retries(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(number @ 0..=1000) => Ok(number),
        _ => Err("a number of retries is a whole number from 0 (try once) to 1000".to_owned()),
    }
}

/// Parses a rate in events per second, at least 0.001.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.001 => Ok(rate),
        _ => Err("a rate is a number of events a second, at least 0.001, such as 50 or 0.5; \
                  leave it out for no bound"
            .to_owned()),
    }
}

/// The number of failed events at which a replay stops: events, or a share of them in percent.
pub fn failure_limit(text: &str) -> Result<FailureLimit, String> {
    text.trim().parse()
}

/// The first stages of a replay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ramp(Vec<u64>);

impl From<Ramp> for Vec<u64> {
    fn from(ramp: Ramp) -> Self {
        ramp.0
    }
}

/// The events of the first stages of a replay, separated by commas. The last stage has all other events; `all` may stand for it.
pub fn ramp(text: &str) -> Result<Ramp, String> {
    let stages = text.trim().trim_end_matches(",all");
    let stages = stages.split(',').map(|stage| limit(stage.trim()));
    let stages = stages.collect::<Result<_, _>>().map_err(|_| {
        format!("a ramp is a list of numbers of events, each from 1, such as 1,10,100,all; this is {text:?}")
    });
    stages.map(Ramp)
}

/// Parses a pause: milliseconds, or a number with a unit. At most one day.
pub fn delay(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<u64>() {
        Ok(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        Err(_) => duration(text),
    };
    match parsed {
        Ok(delay) if delay <= Duration::from_secs(24 * 60 * 60) => Ok(delay),
        Ok(_) => Err("a delay is at most one day".to_owned()),
        Err(_) => {
            Err("a delay is a number of milliseconds (500), or a number with a unit (500ms, 2s, 1m)"
                .to_owned())
        }
    }
}

/// Parses the time limit of a handler. A number without a unit is in milliseconds. The limit is above zero and at most
/// one day.
pub fn timeout(text: &str) -> Option<Duration> {
    delay(text).ok().filter(|time| !time.is_zero())
}

/// Parses a boolean: true, 1, yes or on; false, 0, no or off.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Parses a duration with its unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| "a duration is a number with a unit: 90s, 30m, 2h, 7d, 1h30m".to_owned())
}

/// Parses a number of bytes, with or without a unit: 1048576, 512KiB, 10GB.
pub fn bytes(text: &str) -> Result<u64, String> {
    let teach = || {
        "a size is a number of bytes, or a number with a unit: 1048576, 64kB, 512KiB, 10GB, 1TiB".to_owned()
    };
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(teach()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(teach)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_is_a_list_of_numbers_and_may_end_with_all() {
        let stages = |text| ramp(text).map(Vec::from);
        assert_eq!(stages("1,10,100"), Ok(vec![1, 10, 100]));
        assert_eq!(stages(" 1, 10 ,100,all"), Ok(vec![1, 10, 100]));
        for wrong in ["", "all", "1,,2", "0,1", "1;2", "1,all,2", "-1", "1,ten"] {
            let refusal = stages(wrong).unwrap_err();
            assert!(refusal.contains("such as 1,10,100,all"), "{refusal}");
        }
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        for text in ["0", "-1", "9223372036854775808", "NaN", "", "1.5", "1e3"] {
            assert!(limit(text).is_err(), "{text}");
        }
        for text in ["0", "NaN", "inf", "-2", "x", "1e-9"] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert_eq!(limit("9223372036854775807"), Ok(i64::MAX as u64));
        assert_eq!(rate("0.5"), Ok(0.5));
    }

    #[test]
    fn a_bare_delay_is_in_milliseconds() {
        assert_eq!(delay("500"), Ok(Duration::from_millis(500)));
        assert_eq!(delay("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(delay("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(delay("0"), Ok(Duration::ZERO));
        for text in ["-1", "soon", "2 parsecs", "9999999999999999999"] {
            assert!(delay(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_know_their_units() {
        assert_eq!(bytes("1048576"), Ok(1_048_576));
        assert_eq!(bytes("64 kB"), Ok(64_000));
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        for text in ["", "GB", "-1", "1.5GB", "99999999999TiB", "5 apples"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
