use super::*;

/// Readings as `time-in-ns device metric value`, faults as `line reason`.
fn check(text: &str, expect: &[&str]) {
    let got: Vec<String> = RecordedReader::new(text.as_bytes(), "dev")
        .unwrap()
        .map(|reading| match reading {
            Ok(Recorded { time, device, metric, value }) => {
                format!("{} {device} {metric} {}", time.nanos(), value.get())
            }
            Err(fault) => format!("{} {}", fault.line, fault.reason.name()),
        })
        .collect();
    assert_eq!(got, expect, "{text}");
}

#[test]
fn long_csv() {
    check(
        "time,device,metric,value\n1,a,t,2.5\n\n2.5,b,h,-1\r\n3,a,t,\n",
        &["1000000000 a t 2.5", "2500000000 b h -1"],
    );
    check("Value,METRIC,Timestamp,note\n7,t,1,x\n", &["1000000000 dev t 7"]);
    check("\u{feff}time,metric,value\n1,\"a,b\",3", &["1000000000 dev a,b 3"]);
}

#[test]
fn wide_csv() {
    check("timestamp,value\n1,2\n", &["1000000000 dev value 2"]);
    check(
        "Time,Water flow [l/s],p\n1,2,3\n2,,4\n",
        &["1000000000 dev Water flow [l/s] 2", "1000000000 dev p 3", "2000000000 dev p 4"],
    );
    check("time,device,t\n1,a,2\n", &["1000000000 a t 2"]);
}

#[test]
fn ndjson() {
    check(
        concat!(
            r#"{"time":"1970-01-01T00:00:01Z","device":"a","metric":"t","value":2.5,"x":[1]}"#,
            "\n",
            r#"{"value":"7","time":1.5}"#,
            "\n\n",
            r#"{"time":2,"value":null}"#,
            "\n",
            r#"{"time":"2","value":1e999}"#,
            "\n{oops\n",
            r#"{"value":1}"#,
        ),
        &[
            "1000000000 a t 2.5",
            "1500000000 dev value 7",
            "5 not_finite",
            "6 malformed",
            "7 bad_time",
        ],
    );
}

#[test]
fn faults_have_lines_and_do_not_stop_it() {
    check(
        "time,a,b\n1,x,2\nnever,3,4\n1,2\n1,nan,\"5\n2,\"6\",7\n",
        &[
            "2 malformed",
            "1000000000 dev b 2",
            "3 bad_time",
            "3 bad_time",
            "4 malformed",
            "5 malformed",
            "2000000000 dev a 6",
            "2000000000 dev b 7",
        ],
    );
    check("time,device,metric,value\n1,,t,2\n1,a,,2\n", &["2 topic", "3 topic"]);
}

#[test]
fn overlong_lines_are_skipped() {
    let text = format!("time,v\n1,{}\n2,3\n", "9".repeat(LINE_BYTES_MAX));
    check(&text, &["2 malformed", "2000000000 dev v 3"]);
}

#[test]
fn bytes_and_lines_are_counted() {
    let text = format!("time,v\n1,{}\n2,3", "9".repeat(3 * LINE_BYTES_MAX));
    // A small buffer: the rest of the long line comes in many pieces.
    let source = BufReader::with_capacity(1000, text.as_bytes());
    let mut reader = RecordedReader::new(source, "dev").unwrap();
    assert_eq!((reader.bytes(), reader.lines()), (7, 1));
    assert_eq!(reader.by_ref().count(), 2);
    assert_eq!((reader.bytes(), reader.lines()), (text.len() as u64, 3));
}

#[test]
fn headers_that_say_too_little() {
    let check = |text: &str, part: &str| {
        let fault = RecordedReader::new(text.as_bytes(), "dev").unwrap_err();
        assert!(fault.contains(part), "{text}: {fault}");
    };
    check("", "empty");
    check("\n \n", "empty");
    check("1,2\n", "line 1: no column `time`");
    check("\ntime\n", "line 2: no column of values");
    check("time,\"a\n", "not closed");
    let fault = RecordedReader::open("/nonexistent/x.csv", "dev").unwrap_err();
    assert!(fault.starts_with("/nonexistent/x.csv: "), "{fault}");
}

/// Every series of the test data can be read, with as many readings as its description says.
#[test]
fn test_data() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/series");
    let check = |file: &str, readings: usize, first: &str| {
        let reader = RecordedReader::open(folder.join(file), "dev").unwrap();
        let all: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
        assert_eq!(all.len(), readings, "{file}");
        let Recorded { time, metric, value, .. } = &all[0];
        assert_eq!(format!("{time} {metric} {}", value.get()), first, "{file}");
    };
    check(
        "nab_ambient_temperature_system_failure.csv",
        7_267,
        "2013-07-04T00:00:00Z value 69.88083514",
    );
    check("nab_occupancy_6005.csv", 2_380, "2015-09-01T13:45:00Z value 3.06");
    check("nab_speed_7578.csv", 1_127, "2015-09-08T11:39:00Z value 73");
    // Four columns; 831 pressures and some others are empty.
    check("nyc_jfk_weather_2013_hourly.csv", 33_990, "2013-01-01T06:00:00Z temp_f 39.02");
    check("sf_temps_2010_hourly.csv", 8_759, "2010-01-01T00:00:00Z temp_f 47.8");
    check("water_flow_2022_hourly.csv", 1_268, "2022-03-20T10:00:00Z Water flow [l/s] 100.59");
    check("r_co2.csv", 468, "1970-01-01T00:32:39Z value 315.42");
    check("r_airpassengers.csv", 144, "1970-01-01T00:32:29Z value 112");
    check("r_ldeaths.csv", 72, "1970-01-01T00:32:54Z value 3035");
    check("r_nile.csv", 100, "1970-01-01T00:31:11Z value 1120");
    check("r_ukgas.csv", 108, "1970-01-01T00:32:40Z value 160.1");
}
